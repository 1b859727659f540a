/* Reading the dynamic section. */
#include "deliver/elf.h"
#include "base/file.h"
#include <elf.h>
#include <string.h>

static const int64_t largest_file = (int64_t)1 << 30;

struct image {
    const char *path;
    const char *data;
    size_t size;
};

static int broken(const struct image *f, const char *what, struct err *e) {
    return err_set(e, ERR_FORMAT, "elf_read", "%s is not a usable ELF file: %s", f->path, what);
}

/* A copy of `n` bytes at `offset`, so that no pointer into the file is ever misaligned. */
static bool take(const struct image *f, uint64_t offset, void *out, size_t n) {
    if (offset > f->size || n > f->size - offset)
        return false;
    memcpy(out, f->data + offset, n);
    return true;
}

static bool program_header(const struct image *f, const Elf64_Ehdr *h, int i, Elf64_Phdr *out) {
    return h->e_phentsize == sizeof *out && h->e_phoff <= f->size &&
           take(f, h->e_phoff + (uint64_t)i * sizeof *out, out, sizeof *out);
}

/* The file offset of a virtual address, by the loadable segment that holds it; false when none does. */
static bool to_offset(const struct image *f, const Elf64_Ehdr *h, uint64_t address, uint64_t *offset) {
    for (int i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr p;
        if (!program_header(f, h, i, &p))
            return false;
        if (p.p_type == PT_LOAD && address >= p.p_vaddr && address - p.p_vaddr < p.p_filesz) {
            *offset = p.p_offset + (address - p.p_vaddr);
            return *offset < f->size;
        }
    }
    return false;
}

/* Calls for each entry of the dynamic section; false when it is cut short. */
static bool each_dynamic(const struct image *f, const Elf64_Phdr *dynamic,
                         void (*visit)(void *context, const Elf64_Dyn *d), void *context) {
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic->p_filesz; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn d;
        if (dynamic->p_offset > f->size || !take(f, dynamic->p_offset + at, &d, sizeof d))
            return false;
        if (d.d_tag == DT_NULL)
            return true;
        visit(context, &d);
    }
    return true;
}

struct found {
    uint64_t strings; /* address of the string table */
    int n_needed;
    uint64_t *names; /* offsets into the string table; NULL while counting */
};

static void on_entry(void *context, const Elf64_Dyn *d) {
    struct found *x = context;
    if (d->d_tag == DT_STRTAB)
        x->strings = d->d_un.d_ptr;
    if (d->d_tag != DT_NEEDED)
        return;
    if (x->names)
        x->names[x->n_needed] = d->d_un.d_val;
    x->n_needed++;
}

static int read_names(const struct image *f, const Elf64_Ehdr *h, const Elf64_Phdr *dynamic, struct arena *a,
                      struct elf_info *out, struct err *e) {
    struct found x = {0};
    uint64_t strings = 0;
    if (!each_dynamic(f, dynamic, on_entry, &x) || !to_offset(f, h, x.strings, &strings))
        return broken(f, "its dynamic section", e);
    int n = x.n_needed;
    x.n_needed = 0;
    x.names = arena_calloc(a, (size_t)n + 1, sizeof *x.names);
    out->needed = arena_calloc(a, (size_t)n + 1, sizeof *out->needed);
    if (!x.names || !out->needed)
        return err_set(e, ERR_NO_MEMORY, "elf_read", "no memory for the libraries of %s", f->path);
    each_dynamic(f, dynamic, on_entry, &x);
    for (int i = 0; i < n; i++) {
        uint64_t at = strings + x.names[i];
        const char *name = f->data + at;
        if (x.names[i] >= f->size || at >= f->size || !memchr(name, 0, f->size - at))
            return broken(f, "the name of a library", e);
        out->needed[i] = arena_strdup(a, name);
        if (!out->needed[i])
            return err_set(e, ERR_NO_MEMORY, "elf_read", "no memory for the libraries of %s", f->path);
    }
    out->n_needed = n;
    return 0;
}

static int parse(const struct image *f, struct arena *a, struct elf_info *out, struct err *e) {
    Elf64_Ehdr h;
    if (!take(f, 0, &h, sizeof h) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
        return broken(f, "its beginning", e);
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB)
        return broken(f, "not 64-bit little-endian", e);
    out->machine = h.e_machine;
    out->needed = NULL;
    out->n_needed = 0;
    for (int i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;
        if (!program_header(f, &h, i, &p))
            return broken(f, "its program headers", e);
        if (p.p_type == PT_DYNAMIC)
            return read_names(f, &h, &p, a, out, e);
    }
    return 0; /* static: needs nothing */
}

int elf_read(const char *path, struct arena *a, struct elf_info *out, struct err *e) {
    struct str text = {0};
    struct elf_info info = {0};
    int rc = file_read(path, largest_file, &text, e);
    if (rc == 0) {
        struct image f = {path, text.data, text.len};
        rc = parse(&f, a, &info, e);
    }
    str_release(&text);
    if (rc == 0)
        *out = info;
    return rc;
}
