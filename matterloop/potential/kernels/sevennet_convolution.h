/* Forward and backward of one convolution over neighbours, for one precision: REAL and NAME(x) are defined by sevennet.c.

   A path couples degree l1 of a neighbour's features with degree l2 of the edge's harmonics to degree l3:
       out[c][l3][k][u] += sum over edges e of c, i, j  w[e][u] x[s(e)][l1][i][u] Y[e][l2][j] C[i][j][k]
   x and out hold all atoms of one degree, then those of the next; channels u lie innermost, BLOCK of them make a vector. The few C that are not zero
   are listed as terms (i, k, j, value); z[i][k] are the sums over j. */

typedef REAL NAME(vec) __attribute__((vector_size(BLOCK * sizeof(REAL))));
typedef REAL NAME(loose) __attribute__((vector_size(BLOCK * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#define VEC NAME(vec)
#define AT(place) (*(NAME(loose) *)(place))
#define ALWAYS static inline __attribute__((always_inline))

ALWAYS void NAME(spread)(const int I, const int K, int64_t mul, int64_t width, const REAL *z, const REAL *w, const REAL *x, REAL *out) {
    for (int64_t b = 0; b < mul; b += BLOCK) {
        VEC t[7], weight = AT(w + b);
        for (int i = 0; i < I; i++) t[i] = weight * AT(x + i * mul + b);
        for (int k = 0; k < K; k++) {
            VEC a = AT(out + k * width + b);
            for (int i = 0; i < I; i++) a += z[i * K + k] * t[i];
            AT(out + k * width + b) = a;
        }
    }
}

/* gx (may be absent) += slope by x, gy += slope by the harmonics; returns the slope by the length, each still to be summed over its lanes */
ALWAYS VEC NAME(gather)(const int I, const int K, const Path *p, const Term *term, const REAL *z, const REAL *w, const REAL *dw, const REAL *x,
                        const REAL *g, REAL *gx, VEC *gy) {
    VEC length = {0};
    const Term *end = term + p->terms;
    for (int i = 0; i < I; i++) {
        VEC sums[7];
        for (int k = 0; k < K; k++) sums[k] = (VEC){0};
        for (int64_t b = 0; b < p->mul; b += BLOCK) {
            VEC from = AT(x + i * p->mul + b), weight = AT(w + b), t = weight * from, back = {0};
            for (int k = 0; k < K; k++) {
                VEC slope = AT(g + k * p->width + b);
                back += z[i * K + k] * slope;
                sums[k] += t * slope;
            }
            length += from * back * AT(dw + b);
            if (gx) AT(gx + i * p->mul + b) += weight * back;
        }
        for (; term < end && term->i == i; term++) gy[term->j] += (REAL)term->value * sums[term->k];
    }
    return length;
}

ALWAYS REAL NAME(total)(VEC v) {
    REAL s[BLOCK];
    AT(s) = v;
    for (int half = BLOCK / 2; half; half /= 2)
        for (int u = 0; u < half; u++) s[u] += s[u + half];
    return s[0];
}

ALWAYS void NAME(couple)(const Path *p, const Term *term, const REAL *y, REAL *z) {
    int K = 2 * p->l3 + 1;
    for (int n = 0; n < (2 * p->l1 + 1) * K; n++) z[n] = 0;
    for (int64_t n = 0; n < p->terms; n++) z[term[n].i * K + term[n].k] += (REAL)term[n].value * y[term[n].j];
}

#define SIZES(CALL)                                                                                                                        \
    switch (8 * p->l1 + p->l3) {                                                                                                           \
    case 0: CALL(1, 1) break; case 1: CALL(1, 3) break; case 2: CALL(1, 5) break; case 3: CALL(1, 7) break;                                 \
    case 8: CALL(3, 1) break; case 9: CALL(3, 3) break; case 10: CALL(3, 5) break; case 11: CALL(3, 7) break;                               \
    case 16: CALL(5, 1) break; case 17: CALL(5, 3) break; case 18: CALL(5, 5) break; case 19: CALL(5, 7) break;                             \
    case 24: CALL(7, 1) break; case 25: CALL(7, 3) break; case 26: CALL(7, 5) break; case 27: CALL(7, 7) break;                             \
    }

API void NAME(convolve)(const Layer *layer, const Edges *edges, const REAL *x, const REAL *y, const REAL *w, REAL *out) {
    REAL z[49];
    for (int64_t c = 0; c < edges->atoms; c++)
        for (int64_t e = edges->first[c]; e < edges->first[c + 1]; e++)
            for (int64_t n = 0; n < layer->paths; n++) {
                const Path *p = layer->path + n;
                const REAL *weight = w + edges->length[e] * layer->w_width + p->w_at;
                const REAL *from = x + edges->atoms * p->x_at + edges->sender[e] * (2 * p->l1 + 1) * p->mul;
                REAL *to = out + edges->atoms * p->out_at + c * (2 * p->l3 + 1) * p->width + p->begin;
                NAME(couple)(p, layer->term + p->term_at, y + e * layer->y_width, z);
#define CALL(I, K) NAME(spread)(I, K, p->mul, p->width, z, weight, from, to);
                SIZES(CALL)
#undef CALL
            }
}

API void NAME(convolve_back)(const Layer *layer, const Edges *edges, const REAL *x, const REAL *y, const REAL *w, const REAL *dw, const REAL *g,
                             REAL *gx, REAL *gy, REAL *gr) {
    REAL z[49];
    for (int64_t c = 0; c < edges->atoms; c++)
        for (int64_t e = edges->first[c]; e < edges->first[c + 1]; e++) {
            VEC slope = {0}, by_y[16];
            for (int j = 0; j < layer->y_width; j++) by_y[j] = (VEC){0};
            for (int64_t n = 0; n < layer->paths; n++) {
                const Path *p = layer->path + n;
                const Term *term = layer->term + p->term_at;
                int64_t row = edges->length[e] * layer->w_width + p->w_at, from = edges->atoms * p->x_at + edges->sender[e] * (2 * p->l1 + 1) * p->mul;
                const REAL *to = g + edges->atoms * p->out_at + c * (2 * p->l3 + 1) * p->width + p->begin;
                NAME(couple)(p, term, y + e * layer->y_width, z);
#define CALL(I, K) slope += NAME(gather)(I, K, p, term, z, w + row, dw + row, x + from, to, gx ? gx + from : 0, by_y);
                SIZES(CALL)
#undef CALL
            }
            for (int j = 0; j < layer->y_width; j++) gy[e * layer->y_width + j] = NAME(total)(by_y[j]);
            gr[e] = NAME(total)(slope);
        }
}

#undef SIZES
#undef ALWAYS
#undef VEC
#undef AT
