/* Word lists and invented words: see words.h. */
#include "words.h"
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const char *const nouns[] = {
    "account",   "acid",     "alarm",     "altitude",  "angle",     "answer",     "antenna",   "apple",
    "area",      "arm",      "arrival",   "article",   "asset",     "attempt",    "axis",      "badge",
    "bag",       "balance",  "band",      "barrel",    "basin",     "basket",     "batch",     "battery",
    "beacon",    "beam",     "bed",       "belt",      "bid",       "bill",       "bin",       "bird",
    "blade",     "block",    "board",     "boat",      "boiler",    "bolt",       "bond",      "bonus",
    "book",      "booking",  "boot",      "bottle",    "box",       "branch",     "brand",     "bread",
    "break",     "bridge",   "bucket",    "budget",    "buffer",    "building",   "bundle",    "bus",
    "button",    "buyer",    "cabin",     "cable",     "cache",     "call",       "caller",    "camera",
    "canal",     "candle",   "cap",       "capacity",  "car",       "card",       "cargo",     "carrier",
    "cart",      "case",     "cash",      "cattle",    "cell",      "chain",      "chair",     "chamber",
    "channel",   "charge",   "chart",     "check",     "cheese",    "chemical",   "chicken",   "chip",
    "circuit",   "city",     "class",     "clay",      "client",    "clock",      "cloth",     "cloud",
    "club",      "coal",     "coat",      "code",      "coil",      "coin",       "colour",    "column",
    "comment",   "company",  "contact",   "content",   "contract",  "copper",     "copy",      "corn",
    "cost",      "cotton",   "count",     "counter",   "country",   "course",     "court",     "cover",
    "cow",       "crane",    "crate",     "credit",    "crew",      "crop",       "crowd",     "cup",
    "current",   "curve",    "customer",  "cut",       "cycle",     "dam",        "data",      "date",
    "deal",      "debt",     "deck",      "deposit",   "depth",     "desk",       "detector",  "device",
    "diet",      "digit",    "dirt",      "disk",      "distance",  "district",   "dock",      "document",
    "dog",       "door",     "dose",      "draft",     "drain",     "drawer",     "drill",     "drink",
    "drive",     "driver",   "drop",      "drum",      "dust",      "duty",       "edge",      "effort",
    "egg",       "energy",   "engine",    "entry",     "error",     "estate",     "event",     "exam",
    "exit",      "expense",  "export",    "fabric",    "face",      "factor",     "factory",   "failure",
    "fan",       "fare",     "farm",      "fat",       "fee",       "feed",       "fence",     "fibre",
    "field",     "file",     "film",      "filter",    "finger",    "fire",       "fish",      "flag",
    "flame",     "flash",    "fleet",     "flight",    "floor",     "flour",      "flow",      "flower",
    "fluid",     "foam",     "fog",       "food",      "force",     "forest",     "fork",      "form",
    "frame",     "freight",  "fruit",     "fuel",      "fund",      "fuse",       "gain",      "game",
    "gap",       "garden",   "gas",       "gate",      "gauge",     "gear",       "gift",      "glass",
    "goal",      "gold",     "grade",     "grain",     "grant",     "grass",      "grid",      "grip",
    "ground",    "group",    "growth",    "guard",     "guest",     "guide",      "hall",      "hand",
    "harbour",   "harvest",  "hat",       "head",      "heart",     "heat",       "height",    "herd",
    "hill",      "hole",     "home",      "hook",      "horn",      "horse",      "hose",      "hotel",
    "house",     "hub",      "ice",       "image",     "impact",    "import",     "income",    "index",
    "ink",       "input",    "insect",    "interest",  "invoice",   "iron",       "island",    "item",
    "jacket",    "jar",      "job",       "joint",     "journey",   "juice",      "key",       "kitchen",
    "lab",       "label",    "labour",    "lake",      "lamp",      "land",       "lane",      "laser",
    "latch",     "layer",    "leaf",      "leak",      "lease",     "leather",    "leg",       "lens",
    "letter",    "level",    "lever",     "licence",   "lift",      "light",      "limit",     "line",
    "link",      "liquid",   "list",      "load",      "loan",      "location",   "lock",      "log",
    "loop",      "loss",     "lot",       "lunch",     "machine",   "mail",       "margin",    "mark",
    "market",    "mask",     "mass",      "mast",      "match",     "material",   "meal",      "meat",
    "medal",     "member",   "memory",    "menu",      "message",   "metal",      "meter",     "mile",
    "milk",      "mill",     "mine",      "mirror",    "mist",      "mixture",    "model",     "module",
    "moisture",  "money",    "month",     "mortgage",  "motor",     "mount",      "mouse",     "mud",
    "nail",      "name",     "neck",      "needle",    "nest",      "net",        "node",      "noise",
    "note",      "number",   "nurse",     "nut",       "object",    "offer",      "office",    "oil",
    "order",     "ore",      "oven",      "owner",     "oxygen",    "pack",       "package",   "packet",
    "page",      "paint",    "pair",      "pan",       "panel",     "paper",      "parcel",    "park",
    "part",      "partner",  "party",     "passage",   "passenger", "patch",      "path",      "pattern",
    "payment",   "peak",     "pen",       "pension",   "period",    "permit",     "person",    "phone",
    "photo",     "piece",    "pig",       "pile",      "pilot",     "pin",        "pipe",      "pitch",
    "place",     "plane",    "plant",     "plate",     "player",    "plot",       "plug",      "point",
    "policy",    "pond",     "pool",      "port",      "post",      "pot",        "powder",    "power",
    "premium",   "price",    "print",     "prize",     "probe",     "product",    "profile",   "profit",
    "project",   "pulse",    "pump",      "purchase",  "quality",   "quantity",   "quarry",    "queue",
    "quota",     "radar",    "radio",     "rail",      "rain",      "ramp",       "range",     "rate",
    "ratio",     "reactor",  "reader",    "rebate",    "receipt",   "refund",     "region",    "relay",
    "rent",      "repair",   "reply",     "report",    "reserve",   "resin",      "return",    "review",
    "reward",    "rice",     "ride",      "ring",      "river",     "road",       "robot",     "rock",
    "rod",       "role",     "roll",      "roof",      "room",      "root",       "rope",      "rotor",
    "round",     "route",    "row",       "rubber",    "run",       "salary",     "sale",      "salt",
    "sample",    "sand",     "scale",     "scan",      "school",    "score",      "screen",    "screw",
    "sea",       "seal",     "season",    "seat",      "section",   "sector",     "seed",      "seller",
    "sensor",    "server",   "service",   "session",   "shaft",     "shape",      "sheep",     "sheet",
    "shelf",     "shell",    "shift",     "ship",      "shirt",     "shock",      "shoe",      "shop",
    "shot",      "shower",   "signal",    "silk",      "silver",    "site",       "size",      "skin",
    "slab",      "sleep",    "slope",     "slot",      "smoke",     "snow",       "soap",      "socket",
    "soil",      "solar",    "song",      "sound",     "soup",      "source",     "space",     "span",
    "spark",     "speaker",  "speed",     "spend",     "spin",      "spot",       "spray",     "spring",
    "stack",     "staff",    "stage",     "stain",     "stair",     "stamp",      "star",      "state",
    "station",   "stay",     "steam",     "steel",     "stem",      "step",       "stock",     "stone",
    "stop",      "storage",  "store",     "storm",     "strain",    "stream",     "street",    "strength",
    "stress",    "strip",    "stroke",    "student",   "sugar",     "supplier",   "supply",    "surface",
    "survey",    "switch",   "system",    "table",     "tail",      "tank",       "tap",       "tape",
    "target",    "tariff",   "task",      "tax",       "tea",       "team",       "tenant",    "tender",
    "tension",   "tent",     "term",      "test",      "thread",    "throttle",   "ticket",    "tide",
    "tile",      "timber",   "tip",       "title",     "token",     "tone",       "tool",      "tooth",
    "torque",    "total",    "tour",      "tower",     "town",      "toy",        "trace",     "track",
    "trade",     "traffic",  "trailer",   "train",     "transfer",  "tray",       "tree",      "trench",
    "trip",      "truck",    "tube",      "tunnel",    "turbine",   "turn",       "tyre",      "unit",
    "user",      "valley",   "value",     "valve",     "vapour",    "vehicle",    "vendor",    "vessel",
    "view",      "village",  "voltage",   "volume",    "vote",      "voyage",     "wage",      "wait",
    "walk",      "wall",     "ware",      "waste",     "watch",     "water",      "wave",      "wax",
    "weather",   "weight",   "well",      "wheat",     "wheel",     "width",      "wind",      "window",
    "wine",      "wing",     "wire",      "wood",      "wool",      "word",       "worker",    "yard",
    "year",      "yeast",    "yield",     "zone",      "absence",   "advance",    "agent",     "aircraft",
    "allowance", "animal",   "appliance", "auction",   "author",    "bakery",     "bargain",   "blanket",
    "borrower",  "bracket",  "breeder",   "brewery",   "broker",    "cabinet",    "calendar",  "candidate",
    "cannon",    "captain",  "carbon",    "carpet",    "castle",    "cement",     "ceramic",   "clinic",
    "coffee",    "college",  "compass",   "compost",   "concrete",  "container",  "cooler",    "corridor",
    "coupon",    "cushion",  "cylinder",  "dealer",    "density",   "departure",  "diesel",    "discount",
    "display",   "dividend", "dollar",    "domain",    "donor",     "editor",     "elevator",  "enzyme",
    "exhibit",   "exposure", "faculty",   "feature",   "ferry",     "fertiliser", "fixture",   "freezer",
    "furnace",   "garage",   "generator", "glove",     "hazard",    "heater",     "helmet",    "hospital",
    "humidity",  "incident", "injector",  "inspector", "intake",    "inventory",  "keyboard",  "kettle",
    "ladder",    "laptop",   "lesson",    "library",   "locker",    "magnet",     "manager",   "mixer",
    "mortar",    "museum",   "network",   "nozzle",    "nutrient",  "orchard",    "outlet",    "oyster",
    "parking",   "pasture",  "pedal",     "pellet",    "penalty",   "pigment",    "piston",    "pixel",
    "plastic",   "platform", "pollen",    "portion",   "poultry",   "printer",    "prototype", "puncture",
    "radiator",  "recipe",   "record",    "referral",  "resistor",  "retailer",   "rotation",  "runway",
    "saddle",    "salmon",   "satellite", "scanner",   "schedule",  "shelter",    "solvent",   "spindle",
    "sponsor",   "stadium",  "statue",    "sterile",   "subsidy",   "sulphur",    "surgeon",   "tablet",
    "teacher",   "terminal", "textile",   "theatre",   "tractor",   "tuition",    "uniform",   "vacuum",
    "variant",   "velocity", "veteran",   "violin",    "voucher",   "warranty",   "weapon",    "workshop",
    "zipper",    NULL};

static const char *const adjectives[] = {
    "actual",  "annual",  "average",  "basic",   "black",   "blue",     "broad",    "bulk",    "busy",
    "central", "cheap",   "clean",    "clear",   "closed",  "coarse",   "cold",     "common",  "cool",
    "daily",   "damp",    "dark",     "dead",    "deep",    "direct",   "double",   "dry",     "early",
    "empty",   "equal",   "external", "extra",   "fast",    "final",    "fine",     "first",   "fixed",
    "flat",    "foreign", "free",     "fresh",   "front",   "full",     "general",  "global",  "good",
    "grand",   "great",   "green",    "grey",    "gross",   "half",     "hard",     "heavy",   "hidden",
    "high",    "hot",     "hourly",   "idle",    "inner",   "internal", "joint",    "junior",  "kind",
    "large",   "last",    "late",     "latest",  "left",    "legal",    "lend",     "light",   "linear",
    "liquid",  "local",   "long",     "loose",   "lost",    "loud",     "low",      "lower",   "main",
    "major",   "manual",  "maximum",  "mean",    "median",  "medium",   "mid",      "mild",    "minimum",
    "minor",   "mixed",   "mobile",   "monthly", "moving",  "narrow",   "natural",  "net",     "new",
    "nominal", "old",     "online",   "open",    "optical", "outer",    "overdue",  "owned",   "paid",
    "partial", "past",    "peak",     "pending", "plain",   "planned",  "poor",     "present", "prior",
    "private", "public",  "pure",     "quick",   "quiet",   "rapid",    "rare",     "raw",     "rear",
    "recent",  "red",     "regular",  "remote",  "rented",  "right",    "rough",    "round",   "safe",
    "second",  "senior",  "shared",   "sharp",   "short",   "side",     "single",   "slow",    "small",
    "smooth",  "soft",    "solid",    "special", "spare",   "stable",   "standard", "static",  "steady",
    "steep",   "strong",  "sunny",    "sweet",   "tall",    "thick",    "thin",     "third",   "tight",
    "tiny",    "top",     "total",    "typical", "unpaid",  "upper",    "urban",    "used",    "usual",
    "vacant",  "valid",   "warm",     "weak",    "weekly",  "wet",      "white",    "whole",   "wide",
    "wild",    "yearly",  "yellow",   "young",   NULL};

static const char *const units[] = {
    "days",   "hours", "minutes", "seconds", "weeks",  "months",  "years",  "metres",  "litres", "grams",
    "volts",  "watts", "degrees", "percent", "euros",  "dollars", "pounds", "miles",   "tons",   "bars",
    "points", "pages", "steps",   "units",   "items",  "litres",  "kilos",  "amps",    "hertz",  "calls",
    "pieces", "cents", "feet",    "inches",  "kelvin", "joules",  "lumens", "newtons", "km",     "kg",
    "ms",     "kwh",   "mm",      "cm",      "ml",     "psi",     "rpm",    "mg",      "times",  "visitors",
    "people", "boxes", "rows",    "lines",   "users",  NULL};

static const char *const labels[] = {
    "accept",  "reject",  "pass",    "fail",    "high",     "low",      "alert",    "quiet",    "urgent",
    "routine", "hold",    "release", "good",    "bad",      "keep",     "drop",     "open",     "close",
    "red",     "green",   "early",   "late",    "spam",     "clean",    "priority", "standard", "risky",
    "safe",    "inspect", "skip",    "approve", "deny",     "hot",      "cold",     "fast",     "slow",
    "strong",  "weak",    "yes",     "no",      "escalate", "ignore",   "refund",   "charge",   "stop",
    "go",      "broken",  "working", "fresh",   "stale",    "critical", "minor",    "eligible", "barred",
    "valid",   "void",    "premium", "basic",   "faulty",   "sound",    "water",    "wait",     "ship",
    "replace", "retain",  "hire",    "decline", "upgrade",  "remain",   "dirty",    "ready",    "blocked",
    "allowed", "unsafe",  "fine",    "unusual", "usual",    "expired",  "current",  "gold",     "silver",
    "call",    "mail",    "review",  "file",    "sell",     "buy",      "heat",     "cool",     "abnormal",
    "typical", "overdue", "paid",    "loud",    "calm",     "full",     "empty",    "special",  "plain",
    "major",   "small",   "warn",    "ok",      "repair",   "leave",    "danger",   "stable",   "flagged",
    "cleared", NULL};

static const char *const verbs[] = {"Sort",    "Check",  "Screen",  "Review",    "Grade", "Inspect",
                                    "Watch",   "Rate",   "Judge",   "Classify",  "Route", "Monitor",
                                    "Filter",  "Assess", "Examine", "Supervise", "Label", "Evaluate",
                                    "Control", "Audit",  "Track",   "Handle",    "Rank",  "Survey",
                                    "Divide",  "Test",   "Process", NULL};

static const char *const places[] = {
    "north",  "south",  "east",   "west",   "web",    "desk",   "indoor",  "outdoor", "sea",
    "air",    "road",   "rail",   "glass",  "steel",  "wood",   "paper",   "small",   "large",
    "medium", "red",    "blue",   "green",  "black",  "white",  "morning", "evening", "night",
    "noon",   "spring", "summer", "autumn", "winter", "monday", "tuesday", "friday",  "sunday",
    "cash",   "card",   "cheque", "token",  "new",    "used",   "leased",  "owned",   "gas",
    "diesel", "solar",  "wind",   "beef",   "fish",   "fruit",  "dairy",   "retail",  "trade",
    "school", "clinic", "first",  "second", "third",  "none",   "single",  "double",  "family",
    "group",  "basic",  "silver", "gold",   "bronze", "daily",  "weekly",  "monthly", "yearly",
    "phone",  "email",  "letter", "branch", "truck",  "van",    "ship",    "plane",   NULL};

/* Words that the protocol itself is made of and that people call their fields too. */
static const char *const formal[] = {
    "type", "values",   "min",     "max",       "unit",    "decimals",   "number",  "integer",
    "name", "record",   "records", "category",  "fields",  "label",      "labels",  "answer",
    "task", "sentence", "user",    "assistant", "system",  "family",     "refusal", "condition",
    "days", "hours",    "degrees", "minutes",   "percent", "definition", "one",     "yes",
    "no",   "unknown",  "higher",  "lower",     "least",   "most",       "check",   NULL};

static const char *const *const pools[WORDS_POOLS] = {nouns, adjectives, units, labels,
                                                      verbs, places,     formal};

static int pool_size(enum word_pool pool) {
    static int sizes[WORDS_POOLS];
    if (sizes[pool] == 0)
        while (pools[pool][sizes[pool]] != NULL)
            sizes[pool]++;
    return sizes[pool];
}

/* Two or three syllables of an open kind: "bralto", "mivenk". */
static void word_invent(struct rng *r, char out[WORD_MAX]) {
    static const char *const onsets[] = {"b",  "c",  "d",  "f",  "g",  "h",  "j",  "k",  "l",  "m",
                                         "n",  "p",  "r",  "s",  "t",  "v",  "w",  "z",  "br", "cl",
                                         "cr", "dr", "fl", "gr", "pl", "pr", "qu", "sc", "sh", "sl",
                                         "sp", "st", "th", "tr", "ch", "ex", "un", "in", "app"};
    static const char *const vowels[] = {"a",  "e",  "i",  "o",  "u",  "ai", "ea",
                                         "ee", "ie", "io", "oa", "ou", "oo", "y"};
    static const char *const codas[] = {"",    "",    "",    "n",  "r",   "s",    "t",    "l",  "m",  "x",
                                        "nt",  "st",  "ck",  "ng", "rd",  "tion", "ment", "er", "al", "ity",
                                        "ive", "ous", "ing", "ed", "age", "ure",  "nce",  "th", "sh", "p"};
    int n_syllables = (int)rng_range(r, 1, 3);
    out[0] = '\0';
    for (int i = 0; i < n_syllables; i++) {
        char part[12];
        part[0] = '\0';
        strcat(part, onsets[rng_range(r, 0, (int64_t)(sizeof onsets / sizeof *onsets) - 1)]);
        strcat(part, vowels[rng_range(r, 0, (int64_t)(sizeof vowels / sizeof *vowels) - 1)]);
        if (i + 1 == n_syllables || rng_chance(r, 0.4))
            strcat(part, codas[rng_range(r, 0, (int64_t)(sizeof codas / sizeof *codas) - 1)]);
        if (strlen(out) + strlen(part) + 1 < WORD_MAX)
            strcat(out, part);
    }
}

static bool is_lower_case(const char *text) {
    for (; *text != '\0'; text++)
        if (*text < 'a' || *text > 'z')
            return false;
    return true;
}

/* One to three tokens glued together: "ivemotri", "tholkey". */
static void word_glue(struct rng *r, struct bpe *pieces, char out[WORD_MAX]) {
    int n_pieces = (int)rng_range(r, 1, 3);
    out[0] = '\0';
    while (n_pieces > 0 || strlen(out) < 2) {
        const char *piece = bpe_token(pieces, (int32_t)rng_range(r, BPE_N_SPECIAL, bpe_n_vocab(pieces) - 1));
        if (!is_lower_case(piece))
            continue;
        if (strlen(out) + strlen(piece) + 1 < WORD_MAX)
            strcat(out, piece);
        n_pieces--;
    }
}

static void word_make_up(struct rng *r, const struct word_mix *mix, char out[WORD_MAX]) {
    if (mix->pieces == NULL || rng_chance(r, 0.5))
        word_invent(r, out);
    else
        word_glue(r, mix->pieces, out);
}

void word_pick(struct rng *r, enum word_pool pool, const struct word_mix *mix, char out[WORD_MAX]) {
    bool rare = pool == WORDS_UNIT || pool == WORDS_VERB;
    if (rare ? mix->pieces != NULL && rng_chance(r, mix->invented / 2) : rng_chance(r, mix->invented)) {
        word_make_up(r, mix, out);
        if (pool == WORDS_VERB)
            out[0] = (char)(out[0] - 'a' + 'A');
        return;
    }
    if (mix->pieces != NULL && pool == WORDS_NOUN && rng_chance(r, 0.06))
        pool = WORDS_FORMAL;
    strcpy(out, pools[pool][rng_range(r, 0, pool_size(pool) - 1)]);
}

const char *word_listed(enum word_pool pool, int index) {
    return index < pool_size(pool) ? pools[pool][index] : NULL;
}
