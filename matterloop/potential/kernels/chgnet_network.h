/* The network of CHGNet on the graph of one crystal, forward and backward, for one precision: REAL, WORD (an integer of its size), NAME(), SINGLE.
   Included twice by chgnet.c. Matrices are (inputs, outputs), row by row; of a gated layer the first F outputs are the core, the last F the gate. */

#ifndef VECTOR_BYTES
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define COLUMNS 4 /* vectors in a block of a product; ROWS x COLUMNS sums stay in registers */
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define COLUMNS 2
#else
#define VECTOR_BYTES 16
#define COLUMNS 2
#endif
#define ROWS 6
#endif

typedef REAL NAME(V) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef WORD NAME(I) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
#define V NAME(V)
#define I NAME(I)
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define AT(p, k) (*(V *)((p) + (k)*LANES))
#define GET(p, k) (*(const V *)((p) + (k)*LANES))

/* products: y (+)= x w + bias */

INLINE void NAME(block)(const int rows, const int columns, const REAL *x, ptrdiff_t step, int depth, const REAL *w, int width, REAL *y, ptrdiff_t to,
                        const REAL *bias, int add) {
  V sum[ROWS][COLUMNS];
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int c = 0; c < columns; c++) sum[r][c] = add ? AT(y + r * to, c) : bias ? GET(bias, c) : (V){0};
  for (int k = 0; k < depth; k++) {
    V b[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < columns; c++) b[c] = GET(w + (ptrdiff_t)k * width, c);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      REAL a = x[r * step + k];
#pragma GCC unroll 4
      for (int c = 0; c < columns; c++) sum[r][c] += a * b[c];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int c = 0; c < columns; c++) AT(y + r * to, c) = sum[r][c];
}

INLINE void NAME(panel)(const int columns, int n, const REAL *x, ptrdiff_t step, int depth, const REAL *w, int width, REAL *y, ptrdiff_t to, const REAL *bias, int add) {
  int r = 0;
  for (; r + ROWS <= n; r += ROWS) NAME(block)(ROWS, columns, x + r * step, step, depth, w, width, y + r * to, to, bias, add);
  x += r * step, y += r * to;
  switch (n - r) {
    case 5: NAME(block)(5, columns, x, step, depth, w, width, y, to, bias, add); break;
    case 4: NAME(block)(4, columns, x, step, depth, w, width, y, to, bias, add); break;
    case 3: NAME(block)(3, columns, x, step, depth, w, width, y, to, bias, add); break;
    case 2: NAME(block)(2, columns, x, step, depth, w, width, y, to, bias, add); break;
    case 1: NAME(block)(1, columns, x, step, depth, w, width, y, to, bias, add); break;
  }
}

static void NAME(product)(int n, const REAL *x, ptrdiff_t step, int depth, const REAL *w, int width, REAL *y, ptrdiff_t to, const REAL *bias, int add) {
  const int wide = COLUMNS * LANES, narrow = 2 * LANES;
  int c = 0;
  for (; c + wide <= width; c += wide) NAME(panel)(COLUMNS, n, x, step, depth, w + c, width, y + c, to, bias ? bias + c : NULL, add);
  for (; c < width; c += narrow) NAME(panel)(2, n, x, step, depth, w + c, width, y + c, to, bias ? bias + c : NULL, add);
}
#define PRODUCT(n, x, depth, w, width, y, bias, add) NAME(product)(n, x, depth, depth, w, width, y, width, bias, add)

/* elementary functions */

INLINE V NAME(pick)(I mask, V yes, V no) { return (V)(((I)yes & mask) | ((I)no & ~mask)); }

INLINE V NAME(exponential)(V x) { /* x between -87 and 87 (708) */
#if SINGLE
  const REAL magic = 12582912.f;
  V t = x * 1.44269504088896341f + magic, n = t - magic, r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f, p = p * r + 4.1665795894e-2f, p = p * r + 1.6666665459e-1f, p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  return p * (V)(((I)t + 127) << 23);
#else
  const REAL magic = 6755399441055744.0;
  V t = x * 1.4426950408889634 + magic, n = t - magic, r = x - n * 0.693145751953125 - n * 1.42860682030941723212e-6;
  V p = r / 6227020800.0 + 1 / 479001600.0;
  p = p * r + 1 / 39916800.0, p = p * r + 1 / 3628800.0, p = p * r + 1 / 362880.0, p = p * r + 1 / 40320.0, p = p * r + 1 / 5040.0;
  p = p * r + 1 / 720.0, p = p * r + 1 / 120.0, p = p * r + 1 / 24.0, p = p * r + 1 / 6.0, p = p * r + 0.5, p = p * r + 1, p = p * r + 1;
  return p * (V)(((I)t + 1023) << 52);
#endif
}

INLINE V NAME(sigmoid)(V x) {
  const REAL most = SINGLE ? 87 : 700;
  V high = (V){0} + most, low = -high;
  x = NAME(pick)(x > high, high, x), x = NAME(pick)(x < low, low, x); /* not a number stays what it is */
  return 1 / (1 + NAME(exponential)(-x));
}

/* Sine and cosine of an angle up to a few thousand. */
INLINE void NAME(turn)(V x, V *sine, V *cosine) {
#if SINGLE
  const REAL magic = 12582912.f;
  V t = x * 0.318309886183790672f + magic, n = t - magic, r = x - n * 3.140625f - n * 9.67502593994140625e-4f - n * 1.509957990978376432e-7f;
  I flip = (I)t << 31;
  enum { TERMS = 6 };
#else
  const REAL magic = 6755399441055744.0;
  V t = x * 0.31830988618379067154 + magic, n = t - magic;
  V r = x - n * 3.14159265346825122834 - n * 1.21542010126079319532e-10 - n * 4.04453249759190126308e-21; /* pi in parts of 33 bits */
  I flip = (I)t << 63;
  enum { TERMS = 10 };
#endif
  V square = r * r, s = (V){0}, c = (V){0};
  REAL odd[TERMS + 1], even[TERMS + 1];
  odd[0] = even[0] = 1;
#pragma GCC unroll 12
  for (int k = 1; k <= TERMS; k++) even[k] = -even[k - 1] / ((2 * k - 1) * (2 * k)), odd[k] = -odd[k - 1] / ((2 * k) * (2 * k + 1));
#pragma GCC unroll 12
  for (int k = TERMS; k >= 0; k--) s = s * square + odd[k], c = c * square + even[k];
  *sine = (V)((I)(s * r) ^ flip), *cosine = (V)((I)c ^ flip);
}

INLINE REAL NAME(total)(V x) {
  REAL sum = 0;
  for (int k = 0; k < LANES; k++) sum += x[k];
  return sum;
}

/* the gate: message = silu(core) sigmoid(gate) of normalised outputs z (G), which have no mean.
   Keeps z / deviation and the derivatives of the message, with scale / deviation in them. */
INLINE void NAME(gate)(const REAL *restrict z, const REAL *scale, const REAL *shift, REAL *restrict kept, REAL *restrict slope, REAL *restrict message) {
  REAL rstd[2];
  for (int h = 0; h < 2; h++) {
    V square = (V){0};
    for (int k = 0; k < F / LANES; k++) { V x = GET(z + h * F, k); square += x * x; }
    REAL variance = NAME(total)(square) / F + (REAL)1e-5;
    rstd[h] = 1 / (SINGLE ? sqrtf(variance) : sqrt(variance));
  }
  for (int k = 0; k < F / LANES; k++) {
    V core = GET(z, k) * rstd[0], side = GET(z + F, k) * rstd[1];
    V core_scale = GET(scale, k), side_scale = GET(scale + F, k);
    V x = core * core_scale + GET(shift, k), open = NAME(sigmoid)(side * side_scale + GET(shift + F, k)), s = NAME(sigmoid)(x), silu = x * s;
    V m = silu * open;
    AT(kept, k) = core, AT(kept + F, k) = side, AT(message, k) = m;
    AT(slope, k) = open * (s + silu - silu * s) * core_scale * rstd[0], AT(slope + F, k) = (m - m * open) * side_scale * rstd[1];
  }
}

/* Derivative by z (G) from the derivative by the message (F). */
INLINE void NAME(gate_back)(const REAL *restrict down, const REAL *restrict kept, const REAL *restrict slope, REAL *restrict out) {
  for (int h = 0; h < 2; h++) {
    V sum = (V){0};
    for (int k = 0; k < F / LANES; k++) {
      V g = GET(slope + h * F, k) * GET(down, k);
      AT(out + h * F, k) = g, sum += g * GET(kept + h * F, k);
    }
    REAL mean = NAME(total)(sum) / F;
    for (int k = 0; k < F / LANES; k++) AT(out + h * F, k) -= GET(kept + h * F, k) * mean;
  }
}

INLINE void NAME(add)(int n, REAL *restrict y, const REAL *restrict x) { for (int k = 0; k < n / LANES; k++) AT(y, k) += GET(x, k); }
INLINE void NAME(add_times)(int n, REAL *restrict y, const REAL *restrict x, const REAL *restrict z, REAL t) {
  for (int k = 0; k < n / LANES; k++) AT(y, k) += t * GET(x, k) * GET(z, k);
}
INLINE void NAME(times)(int n, REAL *restrict y, const REAL *restrict x, const REAL *restrict z, REAL t) {
  for (int k = 0; k < n / LANES; k++) AT(y, k) = t * GET(x, k) * GET(z, k);
}

/* x (G) -> h = silu(x), slope = its derivative */
INLINE void NAME(hide)(REAL *restrict x, REAL *restrict slope) {
  for (int k = 0; k < G / LANES; k++) {
    V v = GET(x, k), s = NAME(sigmoid)(v), h = v * s;
    AT(x, k) = h, AT(slope, k) = s + h - h * s;
  }
}

/* radial basis (n, B) and its derivative by length */
static void NAME(radial)(int n, const double *length, const REAL *frequency, double radius, int power, REAL *out, REAL *slope) {
  double p = power, c0 = (p + 1) * (p + 2) / 2, c1 = p * (p + 2), c2 = p * (p + 1) / 2;
  for (int b = 0; b < n; b++) {
    double x = length[b] / radius, xp = pow(x, p - 1), front = sqrt(2 / radius) / length[b];
    double cut = x < 1 ? 1 - xp * x * (c0 - c1 * x + c2 * x * x) : 0;
    double cut_slope = x < 1 ? -xp * (p * c0 - (p + 1) * c1 * x + (p + 2) * c2 * x * x) / radius : 0;
    REAL value = (REAL)(cut * front), by = (REAL)(cut_slope * front - cut * front / length[b]), u = (REAL)x;
    for (int k = 0; k < B / LANES; k++) {
      V sine, cosine, f = GET(frequency, k);
      NAME(turn)(f * u, &sine, &cosine);
      AT(out + B * b, k) = sine * value;
      AT(slope + B * b, k) = cosine * f * (value / (REAL)radius) + sine * by;
    }
  }
}

/* angular basis (n, B): 1 / sqrt 2, sin, cos over sqrt pi, and its derivative by the angle */
static void NAME(angular)(int n, const double *angle, const REAL *frequency, REAL *out, REAL *slope) {
  const REAL norm = (REAL)(1 / sqrt(3.14159265358979323846));
  for (int t = 0; t < n; t++) {
    REAL sine[16], cosine[16], a = (REAL)angle[t], *o = out + B * t, *d = slope + B * t;
    for (int k = 0; k < 16 / LANES; k++) {
      V s, c;
      NAME(turn)(GET(frequency, k) * a, &s, &c);
      AT(sine, k) = s, AT(cosine, k) = c;
    }
    o[0] = (REAL)sqrt(0.5) * norm, d[0] = 0, o[31] = 0, d[31] = 0;
    for (int k = 0; k < 15; k++) {
      o[1 + k] = sine[k] * norm, o[16 + k] = cosine[k] * norm;
      d[1 + k] = cosine[k] * norm * frequency[k], d[16 + k] = -sine[k] * norm * frequency[k];
    }
  }
}

/* one gated layer; inputs each with the transpose after it */
typedef struct { const REAL *in[4], *back[4], *bias, *core, *core_back, *side, *side_back, *hidden_bias, *scale, *shift, *out, *out_back; } NAME(Layer);
/* what the backward pass needs of its rows */
typedef struct { REAL *hidden, *kept, *slope, *message; } NAME(Kept);

static NAME(Layer) NAME(layer)(const REAL *const **w, int inputs, int hidden, int out) {
  NAME(Layer) l;
  memset(&l, 0, sizeof l);
#define NEXT (*(*w)++)
  for (int k = 0; k < inputs; k++) l.in[k] = NEXT, l.back[k] = NEXT;
  l.bias = NEXT;
  if (hidden) l.core = NEXT, l.core_back = NEXT, l.side = NEXT, l.side_back = NEXT, l.hidden_bias = NEXT;
  l.scale = NEXT, l.shift = NEXT;
  if (out) l.out = NEXT, l.out_back = NEXT;
#undef NEXT
  return l;
}

/* x (n <= TILE, G), the sum of the first linear maps -> messages; keeps what the backward pass needs from row `r` on */
INLINE void NAME(forward)(int n, REAL *x, const NAME(Layer) *l, NAME(Kept) *kept, int r) {
  REAL z[TILE * G] __attribute__((aligned(64)));
  const REAL *in = x;
  if (l->core) {
    for (int k = 0; k < n; k++) NAME(hide)(x + k * G, kept->hidden + (size_t)(r + k) * G);
    NAME(product)(n, x, G, F, l->core, F, z, G, l->hidden_bias, 0);
    NAME(product)(n, x + F, G, F, l->side, F, z + F, G, l->hidden_bias + F, 0);
    in = z;
  }
  for (int k = 0; k < n; k++)
    NAME(gate)(in + k * G, l->scale, l->shift, kept->kept + (size_t)(r + k) * G, kept->slope + (size_t)(r + k) * G, kept->message + (size_t)(r + k) * F);
}

/* down (n, F), derivatives by the messages -> x (n, G), derivatives by the sum of the first linear maps */
INLINE void NAME(backward)(int n, const REAL *down, REAL *x, const NAME(Layer) *l, const NAME(Kept) *kept, int r) {
  REAL z[TILE * G] __attribute__((aligned(64)));
  REAL *out = l->core ? z : x;
  for (int k = 0; k < n; k++) NAME(gate_back)(down + k * F, kept->kept + (size_t)(r + k) * G, kept->slope + (size_t)(r + k) * G, out + k * G);
  if (!l->core) return;
  NAME(product)(n, z, G, F, l->core_back, F, x, G, NULL, 0);
  NAME(product)(n, z + F, G, F, l->side_back, F, x + F, G, NULL, 0);
  for (int k = 0; k < n; k++)
    for (int v = 0; v < G / LANES; v++) AT(x + k * G, v) *= GET(kept->hidden + (size_t)(r + k) * G, v);
}

static NAME(Kept) NAME(keep)(Space *s, int rows, int hidden) {
  NAME(Kept) k = {hidden ? TAKE(REAL, (size_t)rows * G) : NULL, TAKE(REAL, (size_t)rows * G), TAKE(REAL, (size_t)rows * G), TAKE(REAL, (size_t)rows * F)};
  return k;
}

/* Energy without element references; derivatives by length and angle of every class, magnetic moments of every atom class. */
static double NAME(network)(Space *s, const Graph *g, const REAL *const *w, double radius, double near_radius, int power, double *by_length, double *by_angle,
                            double *moment) {
  const int nA = g->atoms, nB = g->bonds, nN = g->nears, nD = g->directed, nK = g->angles, rows1 = g->first1[nA], rows2 = g->first2[nD];
  const REAL *embedding = w[0], *f_far = w[1], *f_near = w[2], *f_angle = w[3];
  const REAL *w_far = w[4], *w_far_back = w[5], *w_near = w[6], *w_near_back = w[7], *e_bond = w[8], *e_bond_back = w[9], *e_angle = w[10], *e_angle_back = w[11];
  w += 12;
  NAME(Layer) atom_layer[ATOM_LAYERS], bond_layer[BOND_LAYERS], angle_layer[ANGLE_LAYERS];
  for (int k = 0; k < ATOM_LAYERS; k++) atom_layer[k] = NAME(layer)(&w, 4, 1, 1);   /* receiver, sender, radial basis, what the bond has learnt */
  for (int k = 0; k < BOND_LAYERS; k++) bond_layer[k] = NAME(layer)(&w, 4, 1, 1);   /* own bond, other bond, angle, atom */
  for (int k = 0; k < ANGLE_LAYERS; k++) angle_layer[k] = NAME(layer)(&w, 4, 0, 0); /* the same */

  REAL *radial = TAKE(REAL, nB * B), *radial_slope = TAKE(REAL, nB * B), *close = TAKE(REAL, nN * B), *close_slope = TAKE(REAL, nN * B);
  REAL *angular = TAKE(REAL, nK * B), *angular_slope = TAKE(REAL, nK * B);
  NAME(radial)(nB, g->length, f_far, radius, power, radial, radial_slope);
  NAME(radial)(nN, g->length, f_near, near_radius, power, close, close_slope);
  NAME(angular)(nK, g->angle, f_angle, angular, angular_slope);

  REAL *weight = TAKE(REAL, nB * F), *near_weight = TAKE(REAL, nN * F), *bond = TAKE(REAL, nN * F), *grown = ZEROS(REAL, nN * F), *atom = TAKE(REAL, nA * F);
  REAL *angle = TAKE(REAL, (size_t)rows2 * F), *angle0 = TAKE(REAL, nK * F);
  PRODUCT(nB, radial, B, w_far, F, weight, NULL, 0);
  PRODUCT(nN, close, B, w_near, F, near_weight, NULL, 0);
  PRODUCT(nN, radial, B, e_bond, F, bond, NULL, 0);
  PRODUCT(nK, angular, B, e_angle, F, angle0, NULL, 0);
  for (int a = 0; a < nA; a++) memcpy(atom + a * F, embedding + (size_t)(g->species[a] - 1) * F, F * sizeof(REAL));

  NAME(Kept) atom_kept[ATOM_LAYERS], bond_kept[BOND_LAYERS], angle_kept[ANGLE_LAYERS];
  REAL *heard[BOND_LAYERS];
  int *owner1 = TAKE(int, rows1);
  for (int a = 0; a < nA; a++)
    for (int r = g->first1[a]; r < g->first1[a + 1]; r++) owner1[r] = a;

  REAL *one = TAKE(REAL, (nA > nN ? nA : nN) * G), *two = TAKE(REAL, (nA > nN ? nA : nN) * G), *shared = TAKE(REAL, (size_t)nB * G), *centre = TAKE(REAL, nA * G);
  REAL *by_kind = TAKE(REAL, (size_t)nK * G), *total = TAKE(REAL, nA * F), *sides = TAKE(REAL, nD * F), *learnt = TAKE(REAL, nN * F);
  REAL x[TILE * G] __attribute__((aligned(64))), down[TILE * F] __attribute__((aligned(64)));

  for (int k = 0; k < ATOM_LAYERS; k++) {
    const NAME(Layer) *l = &atom_layer[k];
    atom_kept[k] = NAME(keep)(s, rows1, 1);
    PRODUCT(nA, atom, F, l->in[0], G, one, l->bias, 0);
    PRODUCT(nA, atom, F, l->in[1], G, two, NULL, 0);
    PRODUCT(nB, radial, B, l->in[2], G, shared, NULL, 0);
    if (k) PRODUCT(nN, grown, F, l->in[3], G, shared, NULL, 1);
    memset(total, 0, (size_t)nA * F * sizeof(REAL));
    for (int r = 0; r < rows1; r += TILE) {
      int n = rows1 - r < TILE ? rows1 - r : TILE;
      for (int t = 0; t < n; t++) {
        const REAL *p = one + (size_t)owner1[r + t] * G, *q = two + (size_t)g->atom1[r + t] * G, *u = shared + (size_t)g->bond1[r + t] * G;
        for (int v = 0; v < G / LANES; v++) AT(x + t * G, v) = GET(p, v) + GET(q, v) + GET(u, v);
      }
      NAME(forward)(n, x, l, &atom_kept[k], r);
      for (int t = 0; t < n; t++)
        NAME(add_times)(F, total + owner1[r + t] * F, atom_kept[k].message + (size_t)(r + t) * F, weight + (size_t)g->bond1[r + t] * F, (REAL)g->times1[r + t]);
    }
    PRODUCT(nA, total, F, l->out, F, atom, NULL, 1);
    if (k == ATOM_LAYERS - 2)
      for (int a = 0; a < nA; a++) {
        double sum = w[1][0];
        for (int f = 0; f < F; f++) sum += (double)w[0][f] * atom[a * F + f];
        moment[a] = fabs(sum);
      }
    if (k == ATOM_LAYERS - 1) break;

    l = &bond_layer[k];
    bond_kept[k] = NAME(keep)(s, rows2, 1), heard[k] = TAKE(REAL, nN * F);
    PRODUCT(nN, bond, F, l->in[0], G, one, NULL, 0);
    PRODUCT(nN, bond, F, l->in[1], G, two, NULL, 0);
    PRODUCT(nA, atom, F, l->in[3], G, centre, l->bias, 0);
    if (!k) PRODUCT(nK, angular, B, l->in[2], G, by_kind, NULL, 0);
    memset(sides, 0, (size_t)nD * F * sizeof(REAL));
    for (int r = 0; r < rows2; r += TILE) {
      int n = rows2 - r < TILE ? rows2 - r : TILE;
      if (k) NAME(product)(n, angle + (size_t)r * F, F, F, l->in[2], G, x, G, NULL, 0);
      for (int t = 0; t < n; t++) {
        int d = g->owner2[r + t];
        const REAL *p = one + (size_t)g->bond[d] * G, *q = two + (size_t)g->bond[g->other2[r + t]] * G, *c = centre + (size_t)g->centre[d] * G;
        const REAL *u = k ? x + t * G : by_kind + (size_t)g->angle2[r + t] * G;
        for (int v = 0; v < G / LANES; v++) AT(x + t * G, v) = GET(p, v) + GET(q, v) + GET(c, v) + GET(u, v);
      }
      NAME(forward)(n, x, l, &bond_kept[k], r);
      for (int t = 0; t < n; t++)
        NAME(add_times)(F, sides + g->owner2[r + t] * F, bond_kept[k].message + (size_t)(r + t) * F, near_weight + g->bond[g->other2[r + t]] * F,
                        (REAL)g->times2[r + t]);
    }
    for (int b = 0; b < nN; b++)
      for (int v = 0; v < F / LANES; v++) {
        V both = GET(sides + g->one[b] * F, v) + GET(sides + g->other[b] * F, v);
        AT(heard[k] + b * F, v) = both, AT(learnt + b * F, v) = both * GET(near_weight + b * F, v);
      }
    PRODUCT(nN, learnt, F, l->out, F, bond, NULL, 1);
    PRODUCT(nN, learnt, F, l->out, F, grown, NULL, 1);
    if (k >= ANGLE_LAYERS) continue;

    l = &angle_layer[k];
    angle_kept[k] = NAME(keep)(s, rows2, 0);
    PRODUCT(nN, bond, F, l->in[0], G, one, NULL, 0);
    PRODUCT(nN, bond, F, l->in[1], G, two, NULL, 0);
    PRODUCT(nA, atom, F, l->in[3], G, centre, l->bias, 0);
    if (!k) PRODUCT(nK, angular, B, l->in[2], G, by_kind, NULL, 0);
    for (int r = 0; r < rows2; r += TILE) {
      int n = rows2 - r < TILE ? rows2 - r : TILE;
      if (k) NAME(product)(n, angle + (size_t)r * F, F, F, l->in[2], G, x, G, NULL, 0);
      for (int t = 0; t < n; t++) {
        int d = g->owner2[r + t];
        const REAL *p = one + (size_t)g->bond[d] * G, *q = two + (size_t)g->bond[g->other2[r + t]] * G, *c = centre + (size_t)g->centre[d] * G;
        const REAL *u = k ? x + t * G : by_kind + (size_t)g->angle2[r + t] * G;
        for (int v = 0; v < G / LANES; v++) AT(x + t * G, v) = GET(p, v) + GET(q, v) + GET(c, v) + GET(u, v);
      }
      NAME(forward)(n, x, l, &angle_kept[k], r);
      for (int t = 0; t < n; t++) {
        REAL *a = angle + (size_t)(r + t) * F;
        const REAL *before = k ? a : angle0 + (size_t)g->angle2[r + t] * F, *m = angle_kept[k].message + (size_t)(r + t) * F;
        for (int v = 0; v < F / LANES; v++) AT(a, v) = GET(before, v) + GET(m, v);
      }
    }
  }

  /* readout, and back */
  const REAL *ln_scale = w[2], *ln_shift = w[3], *last = w[13];
  w += 4;
  REAL *normal = TAKE(REAL, nA * F), *rstd = TAKE(REAL, nA), *h = TAKE(REAL, nA * F), *slopes[3], *by_atom = TAKE(REAL, nA * F);
  double energy = 0;
  for (int a = 0; a < nA; a++) {
    double mean = 0, square = 0;
    for (int f = 0; f < F; f++) mean += atom[a * F + f];
    mean /= F;
    for (int f = 0; f < F; f++) square += (atom[a * F + f] - mean) * (atom[a * F + f] - mean);
    rstd[a] = (REAL)(1 / sqrt(square / F + 1e-5));
    for (int f = 0; f < F; f++) normal[a * F + f] = (REAL)(atom[a * F + f] - mean) * rstd[a], h[a * F + f] = normal[a * F + f] * ln_scale[f] + ln_shift[f];
  }
  for (int m = 0; m < 3; m++) {
    slopes[m] = TAKE(REAL, nA * F);
    PRODUCT(nA, h, F, w[3 * m], F, by_atom, w[3 * m + 2], 0);
    for (int v = 0; v < nA * F / LANES; v++) {
      V y = GET(by_atom, v), e = NAME(sigmoid)(y), u = y * e;
      AT(h, v) = u, AT(slopes[m], v) = e + u - u * e;
    }
  }
  for (int a = 0; a < nA; a++) {
    double sum = w[10][0];
    for (int f = 0; f < F; f++) sum += (double)h[a * F + f] * last[f], by_atom[a * F + f] = last[f] * (REAL)g->size[a];
    energy += sum * g->size[a];
  }
  for (int m = 2; m >= 0; m--) {
    for (int v = 0; v < nA * F / LANES; v++) AT(by_atom, v) *= GET(slopes[m], v);
    PRODUCT(nA, by_atom, F, w[3 * m + 1], F, h, NULL, 0);
    memcpy(by_atom, h, (size_t)nA * F * sizeof(REAL));
  }
  for (int a = 0; a < nA; a++) {
    double mean = 0, along = 0;
    for (int f = 0; f < F; f++) by_atom[a * F + f] *= ln_scale[f], mean += by_atom[a * F + f], along += (double)by_atom[a * F + f] * normal[a * F + f];
    for (int f = 0; f < F; f++) by_atom[a * F + f] = rstd[a] * (by_atom[a * F + f] - (REAL)(mean / F) - normal[a * F + f] * (REAL)(along / F));
  }

  REAL *by_bond = ZEROS(REAL, nN * F), *by_grown = ZEROS(REAL, nN * F), *by_weight = ZEROS(REAL, nB * F), *by_near_weight = ZEROS(REAL, nN * F);
  REAL *by_radial = ZEROS(REAL, nB * B), *by_angular = ZEROS(REAL, nK * B), *by_row = TAKE(REAL, (size_t)rows2 * F), *by_side = TAKE(REAL, nD * F);
  REAL *by_start = TAKE(REAL, nK * F);
  for (int k = ATOM_LAYERS - 1; k >= 0; k--) {
    for (int angles = 1; angles >= 0 && k < BOND_LAYERS; angles--) { /* the angle layer, then the bond layer before it */
      if (angles && k >= ANGLE_LAYERS) continue;
      const NAME(Layer) *l = angles ? &angle_layer[k] : &bond_layer[k];
      NAME(Kept) *kept = angles ? &angle_kept[k] : &bond_kept[k];
      if (!angles) {
        for (int v = 0; v < nN * F / LANES; v++) AT(learnt, v) = GET(by_bond, v) + GET(by_grown, v);
        REAL *by_learnt = sides; /* room for nN rows: nD >= nN */
        PRODUCT(nN, learnt, F, l->out_back, F, by_learnt, NULL, 0);
        memset(by_side, 0, (size_t)nD * F * sizeof(REAL));
        for (int b = 0; b < nN; b++) {
          NAME(add_times)(F, by_near_weight + b * F, by_learnt + b * F, heard[k] + b * F, 1);
          NAME(add_times)(F, by_side + g->one[b] * F, by_learnt + b * F, near_weight + b * F, 1);
          NAME(add_times)(F, by_side + g->other[b] * F, by_learnt + b * F, near_weight + b * F, 1);
        }
      }
      memset(one, 0, (size_t)nN * G * sizeof(REAL)), memset(two, 0, (size_t)nN * G * sizeof(REAL)), memset(centre, 0, (size_t)nA * G * sizeof(REAL));
      if (!k) memset(by_kind, 0, (size_t)nK * G * sizeof(REAL));
      if (!k && angles) memset(by_start, 0, (size_t)nK * F * sizeof(REAL));
      for (int r = 0; r < rows2; r += TILE) {
        int n = rows2 - r < TILE ? rows2 - r : TILE;
        if (angles) NAME(backward)(n, by_row + (size_t)r * F, x, l, kept, r);
        else {
          for (int t = 0; t < n; t++) {
            int d = g->owner2[r + t], o = g->bond[g->other2[r + t]];
            NAME(add_times)(F, by_near_weight + o * F, by_side + d * F, kept->message + (size_t)(r + t) * F, (REAL)g->times2[r + t]);
            NAME(times)(F, down + t * F, by_side + d * F, near_weight + o * F, (REAL)g->times2[r + t]);
          }
          NAME(backward)(n, down, x, l, kept, r);
        }
        for (int t = 0; t < n; t++) {
          int d = g->owner2[r + t];
          REAL *p = one + (size_t)g->bond[d] * G, *q = two + (size_t)g->bond[g->other2[r + t]] * G, *c = centre + (size_t)g->centre[d] * G;
          NAME(add)(G, p, x + t * G), NAME(add)(G, q, x + t * G), NAME(add)(G, c, x + t * G);
          if (!k) NAME(add)(G, by_kind + (size_t)g->angle2[r + t] * G, x + t * G);
          if (!k && angles) NAME(add)(F, by_start + (size_t)g->angle2[r + t] * F, by_row + (size_t)(r + t) * F);
        }
        if (k) NAME(product)(n, x, G, G, l->back[2], F, by_row + (size_t)r * F, F, NULL, k < ANGLE_LAYERS);
      }
      if (!k) PRODUCT(nK, by_kind, G, l->back[2], B, by_angular, NULL, 1);
      if (!k && angles) PRODUCT(nK, by_start, F, e_angle_back, B, by_angular, NULL, 1);
      PRODUCT(nN, one, G, l->back[0], F, by_bond, NULL, 1);
      PRODUCT(nN, two, G, l->back[1], F, by_bond, NULL, 1);
      PRODUCT(nA, centre, G, l->back[3], F, by_atom, NULL, 1);
    }
    const NAME(Layer) *l = &atom_layer[k];
    PRODUCT(nA, by_atom, F, l->out_back, F, total, NULL, 0);
    memset(one, 0, (size_t)nA * G * sizeof(REAL)), memset(two, 0, (size_t)nA * G * sizeof(REAL)), memset(shared, 0, (size_t)nB * G * sizeof(REAL));
    for (int r = 0; r < rows1; r += TILE) {
      int n = rows1 - r < TILE ? rows1 - r : TILE;
      for (int t = 0; t < n; t++) {
        size_t b = g->bond1[r + t];
        NAME(add_times)(F, by_weight + b * F, total + owner1[r + t] * F, atom_kept[k].message + (size_t)(r + t) * F, (REAL)g->times1[r + t]);
        NAME(times)(F, down + t * F, total + owner1[r + t] * F, weight + b * F, (REAL)g->times1[r + t]);
      }
      NAME(backward)(n, down, x, l, &atom_kept[k], r);
      for (int t = 0; t < n; t++) {
        NAME(add)(G, shared + (size_t)g->bond1[r + t] * G, x + t * G);
        if (k) NAME(add)(G, one + (size_t)owner1[r + t] * G, x + t * G), NAME(add)(G, two + (size_t)g->atom1[r + t] * G, x + t * G);
      }
    }
    PRODUCT(nB, shared, G, l->back[2], B, by_radial, NULL, 1);
    if (!k) break;
    PRODUCT(nN, shared, G, l->back[3], F, by_grown, NULL, 1);
    PRODUCT(nA, one, G, l->back[0], F, by_atom, NULL, 1);
    PRODUCT(nA, two, G, l->back[1], F, by_atom, NULL, 1);
  }
  PRODUCT(nB, by_weight, F, w_far_back, B, by_radial, NULL, 1);
  PRODUCT(nN, by_bond, F, e_bond_back, B, by_radial, NULL, 1);
  REAL *by_close = TAKE(REAL, nN * B);
  PRODUCT(nN, by_near_weight, F, w_near_back, B, by_close, NULL, 0);
  for (int b = 0; b < nB; b++) {
    double sum = 0;
    for (int k = 0; k < B; k++) sum += (double)by_radial[b * B + k] * radial_slope[b * B + k];
    if (b < nN)
      for (int k = 0; k < B; k++) sum += (double)by_close[b * B + k] * close_slope[b * B + k];
    by_length[b] = sum;
  }
  for (int t = 0; t < nK; t++) {
    double sum = 0;
    for (int k = 0; k < B; k++) sum += (double)by_angular[t * B + k] * angular_slope[t * B + k];
    by_angle[t] = sum;
  }
  return energy;
}

#undef V
#undef I
#undef LANES
#undef AT
#undef GET
#undef PRODUCT
