/* Random tokenizers of the kinds that can be trimmed, in models that llama.cpp loads; and random texts for them. */
#include "tiny_vocab.h"
#include "base/mem.h"
#include "model/writer.h"
#include "tiny_gguf.h"
#include <stdio.h>
#include <string.h>

enum { N_TOKENS = TINY_VOCAB_TOKENS, MAX_BYTES = TINY_TEXT_BYTES };

/* ---- tokenizers ---- */

static const struct {
    const char *name, *pre;
    bool pieces, blank_first; /* SentencePiece; with a blank before a text */
} kinds[TINY_VOCAB_N_KINDS] = {
    {"qwen2", "qwen2", false, false},
    {"llama-bpe", "llama-bpe", false, false},
    {"smollm", "smollm", false, false},
    {"sentencepiece", "default", true, true},
    {"sentencepiece-gemma", "default", true, false},
};

const char *tiny_vocab_name(enum tiny_vocab_kind kind) {
    return kinds[kind].name;
}

struct words {
    struct arena arena;
    const char *tokens[N_TOKENS], *merges[N_TOKENS];
    int32_t types[N_TOKENS];
    float scores[N_TOKENS];
    int n, n_merges;
};

static bool known(const struct words *w, const char *text) {
    for (int i = 0; i < w->n; i++)
        if (strcmp(w->tokens[i], text) == 0)
            return true;
    return false;
}

static void add(struct words *w, const char *text, int32_t type, float score) {
    w->tokens[w->n] = text;
    w->types[w->n] = type;
    w->scores[w->n++] = score;
}

static const char *stand_in(struct arena *a, int byte) {
    int code = byte, others = 0;
    for (int b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        code = b == byte && !printable ? 256 + others : code;
        others += !printable;
    }
    return code < 0x80 ? arena_printf(a, "%c", code)
                       : arena_printf(a, "%c%c", 0xC0 | (code >> 6), 0x80 | (code & 0x3F));
}

/* Joins of any two earlier tokens, short ones more often: halves of letters, letters, pieces of words. */
static void join_words(struct words *w, struct rng *r, int first, int room, enum tiny_vocab_kind kind) {
    for (int tries = 0; w->n < room && tries < 100 * N_TOKENS; tries++) {
        int a = first + (int)rng_range(r, 0, w->n - first - 1),
            b = first + (int)rng_range(r, 0, w->n - first - 1);
        const char *joined = arena_printf(&w->arena, "%s%s", w->tokens[a], w->tokens[b]);
        if (strlen(joined) > 14 || known(w, joined))
            continue;
        w->merges[w->n_merges++] = arena_printf(&w->arena, "%s %s", w->tokens[a], w->tokens[b]);
        add(w, joined, 1, kinds[kind].pieces ? (float)-w->n : 0);
    }
}

static const char *const letters[] = {"a",
                                      "b",
                                      "c",
                                      "d",
                                      "e",
                                      "h",
                                      "i",
                                      "l",
                                      "n",
                                      "o",
                                      "r",
                                      "s",
                                      "t",
                                      "u",
                                      "0",
                                      "1",
                                      "2",
                                      "9",
                                      ".",
                                      ":",
                                      "-",
                                      "\xC3\xA9",
                                      "\xC3\xBC",
                                      "\xD0\xB6",
                                      "\xE4\xB8\xAD",
                                      "\xE2\x82\xAC",
                                      "\xF0\x9F\x98\x80",
                                      "\xE2\x96\x81"};

static void make_words(struct words *w, enum tiny_vocab_kind kind, struct rng *r) {
    *w = (struct words){0};
    arena_init(&w->arena);
    if (kinds[kind].pieces) {
        add(w, "<unk>", 2, 0);
        add(w, "<s>", 3, 0);
        add(w, "</s>", 3, 0);
        for (int b = 0; b < 256; b++)
            add(w, arena_printf(&w->arena, "<0x%02X>", b), 6, 0);
    }
    int first = w->n;
    for (int b = 0; !kinds[kind].pieces && b < 256; b++)
        add(w, stand_in(&w->arena, b), 1, 0);
    for (size_t i = 0; kinds[kind].pieces && i < sizeof letters / sizeof *letters; i++)
        add(w, letters[i], 1, (float)-w->n);
    /* A random pair hardly ever occurs in a text: pairs of common characters first. */
    const char *common[] = {"a", "e", "t", "n", "o", kinds[kind].pieces ? "\xE2\x96\x81" : "\xC4\xA0",
                            "s", "r", "i", "1", "0"};
    for (size_t i = 0; i < 11 * 11; i++) {
        const char *joined = arena_printf(&w->arena, "%s%s", common[i % 11], common[i / 11]);
        w->merges[w->n_merges++] = arena_printf(&w->arena, "%s %s", common[i % 11], common[i / 11]);
        add(w, joined, 1, (float)-w->n);
    }
    join_words(w, r, first, N_TOKENS - 40, kind);
    while (w->n < N_TOKENS - 8)
        add(w, arena_printf(&w->arena, "<|gap_%d|>", w->n), 5, 0);
    for (int i = 0; i < 8; i++)
        add(w, arena_printf(&w->arena, "<|special_%d|>", i), i < 6 ? 3 : 4, 0);
}

static int fill(void *context, const char *name, float *values, int64_t n, struct err *e) {
    return model_file_read(context, name, values, n, e);
}

static void describe(struct model_writer *m, const struct words *w, enum tiny_vocab_kind kind) {
    model_writer_text(m, "tokenizer.ggml.model", kinds[kind].pieces ? "llama" : "gpt2");
    model_writer_text(m, "tokenizer.ggml.pre", kinds[kind].pre);
    model_writer_texts(m, "tokenizer.ggml.tokens", w->tokens, N_TOKENS);
    model_writer_i32s(m, "tokenizer.ggml.token_type", w->types, N_TOKENS);
    model_writer_f32s(m, "tokenizer.ggml.scores", w->scores, N_TOKENS);
    model_writer_texts(m, "tokenizer.ggml.merges", w->merges, (size_t)w->n_merges);
    model_writer_u32(m, "tokenizer.ggml.bos_token_id", kinds[kind].pieces ? 1 : N_TOKENS - 7);
    model_writer_u32(m, "tokenizer.ggml.eos_token_id", N_TOKENS - 8);
    model_writer_u32(m, "tokenizer.ggml.padding_token_id", N_TOKENS - 6);
    model_writer_bool(m, "tokenizer.ggml.add_space_prefix", kinds[kind].blank_first);
}

static int rewrite(const char *from, const char *path, const struct words *w, enum tiny_vocab_kind kind,
                   struct err *e) {
    struct model_file *f;
    struct model_writer *m = NULL;
    int rc = model_file_open(&f, from, e);
    if (rc < 0)
        return rc;
    rc = model_writer_new(&m, e);
    if (rc == 0) {
        model_writer_copy_metadata(m, f);
        describe(m, w, kind);
        for (int64_t i = 0; i < model_file_n_tensors(f); i++) {
            struct model_tensor t = model_file_tensor(f, i);
            model_writer_tensor(m, t.name, t.rows, t.cols, t.rows == 1 ? MODEL_F32 : MODEL_F16);
        }
        rc = model_writer_write(m, path, fill, f, e);
    }
    model_writer_free(m);
    model_file_close(f);
    return rc;
}

int tiny_vocab_write(const char *path, enum tiny_vocab_kind kind, struct rng *r, struct err *e) {
    static struct words w;
    char plain[512];
    struct tiny_gguf shape = {.n_layer = 1, .n_embd = 64, .n_ff = 64, .n_vocab = N_TOKENS};
    snprintf(plain, sizeof plain, "%.500s.plain", path);
    make_words(&w, kind, r);
    int rc = tiny_gguf_write(plain, &shape, e);
    if (rc == 0)
        rc = rewrite(plain, path, &w, kind, e);
    remove(plain);
    arena_release(&w.arena);
    return rc;
}

/* ---- texts ---- */

static size_t put_utf8(char *to, uint32_t c) {
    if (c < 0x80)
        return (size_t)(to[0] = (char)c, 1);
    if (c < 0x800)
        return (size_t)(to[0] = (char)(0xC0 | c >> 6), to[1] = (char)(0x80 | (c & 0x3F)), 2);
    if (c < 0x10000)
        return (size_t)(to[0] = (char)(0xE0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 0x3F)),
                        to[2] = (char)(0x80 | (c & 0x3F)), 3);
    return (size_t)(to[0] = (char)(0xF0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 0x3F)),
                    to[2] = (char)(0x80 | (c >> 6 & 0x3F)), to[3] = (char)(0x80 | (c & 0x3F)), 4);
}

/* Any character but NUL, surrogates, and U+2581, which SentencePiece itself cannot tell from a blank. */
static uint32_t any_character(struct rng *r) {
    static const uint32_t tops[] = {0x7F, 0x7F, 0x7F, 0xFF, 0x7FF, 0xFFFF, 0x10FFFF};
    for (;;) {
        uint32_t c = (uint32_t)rng_range(r, 1, tops[rng_range(r, 0, 6)]);
        if ((c < 0xD800 || c > 0xDFFF) && c != 0x2581)
            return c;
    }
}

size_t tiny_text(struct rng *r, char text[TINY_TEXT_BYTES]) {
    static const char common[] = "aetnosri10 .:-\n";
    size_t n = 0, length = (size_t)rng_range(r, 1, MAX_BYTES - 5);
    bool plain = rng_chance(r, 0.5);
    while (n < length)
        if (plain || rng_chance(r, 0.4))
            text[n++] = common[rng_range(r, 0, (int64_t)sizeof common - 2)];
        else
            n += put_utf8(text + n, any_character(r));
    text[n] = 0;
    return n;
}
