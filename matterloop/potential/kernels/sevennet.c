/* Convolutions of SevenNet (NequIP's) over neighbours without an array per edge and channel: see potential/sevennet_network.py. */

#include <stdint.h>

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors are passed to inlined functions only */
#endif

#ifdef _WIN32
#define API __declspec(dllexport)
#else
#define API __attribute__((visibility("default")))
#endif

#define BLOCK 16 /* channels; multiplicities are multiples of it */

typedef struct {
    int64_t l1, l2, l3, mul;           /* degrees, channels */
    int64_t x_at, out_at;              /* numbers per atom before degree l1 in x, before degree l3 in out */
    int64_t width, begin, w_at;        /* channels of degree l3 in out, where the path's begin there and in a row of w */
    int64_t term_at, terms;            /* couplings */
} Path;

typedef struct {
    int64_t i, k, j; /* j counts the harmonics of all degrees */
    double value;
} Term;

typedef struct {
    int64_t paths, y_width, w_width;
    const Path *path;
    const Term *term;
} Layer;

typedef struct {
    int64_t atoms;
    const int64_t *first, *sender, *length; /* (atoms + 1) edges by centre; (edges) atom, row of w */
} Edges;

#define REAL float
#define NAME(x) x##_f32
#include "sevennet_convolution.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(x) x##_f64
#include "sevennet_convolution.h"
