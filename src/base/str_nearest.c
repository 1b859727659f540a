/* The nearest of a few names, for "did you mean": edit distance in which two swapped neighbours count once
 * (optimal string alignment), ignoring case, over at most 64 bytes of each name. */
#include "base/str.h"

#include <string.h>
#include <strings.h>

enum { LONGEST = 64 };

static int smaller(int a, int b) {
    return a < b ? a : b;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int distance(const char *a, const char *b) {
    int n = (int)strnlen(a, LONGEST), m = (int)strnlen(b, LONGEST);
    int rows[3][LONGEST + 1]; /* rows[i % 3][j]: distance of a's first i bytes to b's first j */
    for (int i = 0; i <= n; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            if (i == 0) {
                row[j] = j;
                continue;
            }
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            int best = smaller(smaller(above[j], row[j - 1]) + 1, above[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                best = smaller(best, above2[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *str_nearest(const char *text, const char *const choices[]) {
    int limit = (int)strnlen(text, LONGEST) / 3;
    int best = limit > 2 ? limit : 2;
    const char *nearest = NULL;
    for (int i = 0; choices[i]; i++) {
        int d = distance(text, choices[i]);
        bool start = strlen(text) >= 3 && strncasecmp(choices[i], text, strlen(text)) == 0;
        if (start)
            d = 0;
        /* a name of two letters is not near to every other name of two letters */
        if (d < best || (d == best && !nearest && d < (int)strlen(choices[i]))) {
            best = d;
            nearest = choices[i];
        }
    }
    return nearest;
}
