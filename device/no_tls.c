/* Stands where libmicrohttpd's archive asks for GnuTLS (tools/configure.sh binds the names of its functions to these two). It starts the
 * TLS library with itself, and calls anything else of it only for a server that was asked to speak TLS, which serve.c never does:
 * a call would be a programmer's error. */
#include <stdio.h>
#include <stdlib.h>

int no_tls_begin(void);
int no_tls(void);

int no_tls_begin(void) {
    return 0;
}

int no_tls(void) {
    fputs("edgestill-run: TLS was asked for, which this program does not speak\n", stderr);
    abort();
}
