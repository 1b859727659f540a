/* Where the program's own data lies: catalog/, seed/, examples/. Looked for, in this order, in $EDGESTILL_DATA_DIR, the folder
 * that the build named (config.h: the source tree, or PREFIX/share/edgestill once installed) and ../share/edgestill beside
 * the program. */
#ifndef CATALOG_DATA_H
#define CATALOG_DATA_H

#include "base/err.h"
#include "base/str.h"

/* The path of "seed/base.gguf" and the like, appended. ERR_NOT_FOUND naming the places that were tried. */
int data_path(const char *name, struct str *out, struct err *e);

/* Folders of the user's own catalogue entries, appended: $XDG_CONFIG_HOME/edgestill or ~/.config/edgestill. Empty when there
 * is no home. */
void data_user_folder(struct str *out);

/* Where a base model of the catalogue lies once it is on this machine, appended: "<name>.gguf" in $EDGESTILL_MODELS, else in
 * $XDG_DATA_HOME/edgestill/models or ~/.local/share/edgestill/models. Empty when there is no home; the file may be absent. */
void data_model_file(const char *model, struct str *out);

#endif
