/* CHGNet evaluated crystal by crystal: energy, forces, virial and magnetic moments with a backward pass written by hand.

   B. Deng and others, Nature Machine Intelligence 5, 1031 (2023), doi:10.1038/s42256-023-00716-3; the equations stand in ../chgnet.py.

   What makes it fast:
   - A crystal's arrays stay in the cache of one core; threads take whole crystals, so that no answer depends on what else is in the batch.
   - Gathering, matrix products, normalisation, gate and sums run fused over tiles of rows; what the backward pass needs is kept, nothing is computed twice.
   - Atoms, bonds and angles that the network cannot tell apart are evaluated once. They are found by colour refinement (B. Weisfeiler, A. Leman, 1968)
     over species, lengths and angles until the colours are stable: then features and derivatives are equal within a colour, the energy is a sum
     over colours times their sizes, and every bond and angle gets its share of its colour's derivative. A crystal without symmetry loses 1 %.

   Plain C, no Python in it; chgnet_kernel.py calls it. The network part, chgnet_network.h, is compiled for float and for double. */

#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))

enum { F = 64, G = 128, B = 32, TILE = 24 }; /* features; of core and gate together; of a basis, padded; rows worked on together */
enum { ATOM_LAYERS = 4, BOND_LAYERS = 3, ANGLE_LAYERS = 2 };
enum { FINE = 0, REFUSED = 1, NO_MEMORY = 2 };

/* memory: blocks are taken from the front and all given back at once, before the next crystal */

typedef struct Chunk { struct Chunk *next; size_t size, used; } Chunk;
typedef struct { Chunk *chunks; double *vector; int *ends; size_t room; jmp_buf full; } Space;

EXPORT void *space_new(void) { return calloc(1, sizeof(Space)); }

static void drop(Space *s) {
  for (Chunk *c = s->chunks, *next; c; c = next) next = c->next, free(c);
  s->chunks = NULL;
}

EXPORT void space_free(void *space) {
  Space *s = space;
  if (!s) return;
  drop(s);
  free(s->vector), free(s->ends), free(s);
}

static Chunk *chunk(Space *s, size_t bytes) {
  Chunk *c = NULL;
#if defined(__linux__)
  const size_t page = (size_t)1 << 21; /* large pages: first touches of many small ones would cost as much as the evaluation */
  if (bytes >= page) {
    if (bytes > SIZE_MAX - 2 * page || posix_memalign((void **)&c, page, (bytes + 128 + page - 1) & ~(page - 1))) longjmp(s->full, 1);
    madvise(c, (bytes + 128 + page - 1) & ~(page - 1), MADV_HUGEPAGE);
  } else
#endif
    c = malloc(bytes + 128);
  if (!c) longjmp(s->full, 1);
  c->size = bytes, c->used = 0, c->next = s->chunks, s->chunks = c;
  return c;
}

static void reset(Space *s) { /* the newest chunk is the largest; the others go */
  if (!s->chunks) return;
  Chunk *kept = s->chunks;
  s->chunks = kept->next;
  drop(s);
  s->chunks = kept, kept->next = NULL, kept->used = 0;
}

/* Make sure that the next `bytes` come from one chunk, in which the next crystal of this size finds room for all it needs. */
static void reserve(Space *s, size_t bytes) {
  size_t used = 0;
  for (Chunk *c = s->chunks; c; c = c->next) used += c->used;
  if (!s->chunks || s->chunks->used + bytes > s->chunks->size) chunk(s, used + bytes);
}

static void *take(Space *s, size_t count, size_t size) {
  size_t bytes = (count * size + 63) & ~(size_t)63;
  Chunk *c = s->chunks;
  if (!c || c->used + bytes > c->size) {
    size_t least = c ? 2 * c->size : (size_t)1 << 20;
    c = chunk(s, bytes > least ? bytes : least);
  }
  char *base = (char *)(((uintptr_t)(c + 1) + 63) & ~(uintptr_t)63);
  void *out = base + c->used;
  c->used += bytes;
  return out;
}

static void *zeros(Space *s, size_t count, size_t size) { return memset(take(s, count, size), 0, count * size); }
#define TAKE(type, count) ((type *)take(s, (size_t)(count), sizeof(type)))
#define ZEROS(type, count) ((type *)zeros(s, (size_t)(count), sizeof(type)))

/* what one crystal looks like to the network: classes of equal atoms, bonds and angles, and rows that say who hears whom */

typedef struct {
  int atoms, bonds, nears, directed, angles; /* classes; bonds within the reach of angles come first */
  const int *species;                        /* of an atom class */
  const double *size;                        /* atoms in it */
  const double *length, *angle;              /* mean of the class, Å and radians */
  int *one, *other;                          /* directed classes of a near bond class */
  int *bond, *centre;                        /* of a directed class: its bond class, the atom class where it starts */
  int *first1, *atom1, *bond1;               /* rows of an atom class: neighbour, bond */
  int *first2, *other2, *angle2, *owner2;    /* rows of a directed class: the other directed class, angle; the class itself */
  double *times1, *times2;                   /* how often a row occurs */
  /* members */
  int all_bonds, all_nears, all_angles;
  const int *i, *j, *near, *left, *right;
  const double *vector;
  const double *long_;      /* length of every bond */
  int *atom_of, *bond_of, *angle_of;
  const double *bond_size, *angle_size;
} Graph;

/* Half of all pairs within `radius`: i <= j, and of an atom's own images those on the positive side. Returns their number, -1 when refused. */
static int pairs(Space *s, int n, const double *frac, const double *cell, const uint8_t *periodic, double radius, double most) {
  double a[3], b[3], c[3], inverse[3], images = 1, *f = TAKE(double, 3 * n);
  for (int k = 0; k < 3; k++) {
    if (!isfinite(cell[k]) || !isfinite(cell[3 + k]) || !isfinite(cell[6 + k])) return -1;
    a[k] = cell[k], b[k] = cell[3 + k], c[k] = cell[6 + k];
  }
#define CROSS(u, v, k) (u[(k + 1) % 3] * v[(k + 2) % 3] - u[(k + 2) % 3] * v[(k + 1) % 3])
  double volume = 0, square[3] = {0, 0, 0};
  for (int k = 0; k < 3; k++) {
    volume += a[k] * CROSS(b, c, k);
    square[0] += CROSS(b, c, k) * CROSS(b, c, k), square[1] += CROSS(c, a, k) * CROSS(c, a, k), square[2] += CROSS(a, b, k) * CROSS(a, b, k);
  }
  for (int k = 0; k < 3; k++) {
    inverse[k] = sqrt(square[k]) / fabs(volume); /* one over the distance of lattice planes */
    if (periodic[k]) images *= floor(2 * radius * inverse[k]) + 1;
  }
  if (!(images <= most)) return -1;
  for (int i = 0; i < 3 * n; i++) {
    if (!isfinite(frac[i])) return -1;
    f[i] = periodic[i % 3] ? frac[i] - floor(frac[i]) : frac[i];
  }
  size_t found = 0;
  for (int i = 0; i < n; i++)
    for (int j = i; j < n; j++) {
      int low[3], high[3];
      double d[3];
      for (int k = 0; k < 3; k++) {
        d[k] = f[3 * j + k] - f[3 * i + k];
        double reach = radius * inverse[k] + 1e-9;
        low[k] = periodic[k] ? (int)ceil(-reach - d[k]) : 0, high[k] = periodic[k] ? (int)floor(reach - d[k]) : 0;
      }
      if (i == j && low[0] < 0) low[0] = 0;
      for (int x = low[0]; x <= high[0]; x++)
        for (int y = (i == j && x == 0 && low[1] < 0) ? 0 : low[1]; y <= high[1]; y++)
          for (int z = (i == j && x == 0 && y == 0) ? 1 : low[2]; z <= high[2]; z++) {
            double v[3];
            for (int k = 0; k < 3; k++) v[k] = (d[0] + x) * a[k] + (d[1] + y) * b[k] + (d[2] + z) * c[k];
            if (v[0] * v[0] + v[1] * v[1] + v[2] * v[2] >= radius * radius) continue;
            if (found == s->room) {
              size_t room = s->room ? 2 * s->room : 4096;
              double *vector = realloc(s->vector, 3 * room * sizeof(double));
              if (vector) s->vector = vector;
              int *ends = realloc(s->ends, 2 * room * sizeof(int));
              if (ends) s->ends = ends;
              if (!vector || !ends || room > ((size_t)1 << 29)) longjmp(s->full, 1);
              s->room = room;
            }
            s->ends[2 * found] = i, s->ends[2 * found + 1] = j;
            memcpy(s->vector + 3 * found++, v, sizeof v);
          }
    }
  return (int)found;
}

/* hashes */

INLINE uint64_t mix(uint64_t x) { /* splitmix64 of S. Vigna */
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
INLINE uint64_t mix2(uint64_t x, uint64_t y) { return mix(mix(x) ^ (y + 0x632be59bd9b4e019u)); }
INLINE uint64_t both(uint64_t x, uint64_t y) { return mix2(x + y, mix(x) + mix(y)); } /* the same for (y, x) */

typedef struct { uint64_t key; int who; } Key;
typedef struct { double value; int who; } Value;

static int by_key(const void *x, const void *y) {
  const Key *a = x, *b = y;
  return a->key != b->key ? (a->key > b->key) - (a->key < b->key) : a->who - b->who;
}
static int by_value(const void *x, const void *y) {
  const Value *a = x, *b = y;
  return a->value != b->value ? (a->value > b->value) - (a->value < b->value) : a->who - b->who;
}

/* Number of different hashes; writes the class of every member, classes in the order of their first members, if `class_of` is given. */
static int classify(Space *s, int n, const uint64_t *hash, int *class_of) {
  Key *keys = TAKE(Key, n);
  int *first = TAKE(int, n + 1), count = 0;
  for (int i = 0; i < n; i++) keys[i] = (Key){hash[i], i};
  qsort(keys, n, sizeof(Key), by_key);
  for (int i = 0; i < n; i++) {
    if (i == 0 || keys[i].key != keys[i - 1].key) count++;
    if (class_of) class_of[keys[i].who] = i && keys[i].key == keys[i - 1].key ? class_of[keys[i - 1].who] : -1 - keys[i].who;
  }
  if (class_of) {
    int next = 0;
    for (int i = 0; i < n; i++) /* -1 - who names the first member of the class, which comes before the others */
      if (class_of[i] == -1 - i) first[i] = next++;
    for (int i = 0; i < n; i++) class_of[i] = first[-1 - class_of[i]];
  }
  return count;
}

/* Values that lie within `tolerance` of the first of their run get one number. */
static void cluster(Space *s, int n, const double *value, double tolerance, uint64_t *out) {
  Value *sorted = TAKE(Value, n);
  for (int i = 0; i < n; i++) sorted[i] = (Value){value[i], i};
  qsort(sorted, n, sizeof(Value), by_value);
  double begin = 0;
  uint64_t number = 0;
  for (int i = 0; i < n; i++) {
    if (i == 0 || sorted[i].value - begin > tolerance) begin = sorted[i].value, number++;
    out[sorted[i].who] = number;
  }
}

/* Mean of a member's value over each class, and sizes. */
static void means(Space *s, int n, const double *value, const int *class_of, int classes, const double **mean, const double **size) {
  double *m = ZEROS(double, classes), *c = ZEROS(double, classes);
  for (int i = 0; i < n; i++) m[class_of[i]] += value[i], c[class_of[i]] += 1;
  for (int k = 0; k < classes; k++) m[k] /= c[k];
  *mean = m, *size = c;
}

static int *identity(Space *s, int n) {
  int *out = TAKE(int, n);
  for (int i = 0; i < n; i++) out[i] = i;
  return out;
}

/* Lists by owner: first (n + 1), items; owner -1 is left out. */
static void lists(Space *s, int n, int items, const int *owner, int **first, int **item) {
  int *f = ZEROS(int, n + 2), *out = TAKE(int, items + 1);
  for (int t = 0; t < items; t++)
    if (owner[t] >= 0) f[owner[t] + 2]++;
  for (int k = 2; k < n + 2; k++) f[k] += f[k - 1];
  for (int t = 0; t < items; t++)
    if (owner[t] >= 0) out[f[owner[t] + 1]++] = t;
  *first = f, *item = out;
}

/* The graph of one crystal. tolerance: Å and radians within which lengths and angles count as equal, negative: nothing is merged. */
static int build(Space *s, Graph *g, int n, const int64_t *species, const double *frac, const double *cell, const uint8_t *periodic,
                 double radius, double near_radius, double most_images, int crowded, double coincident, double tolerance) {
  int bonds = pairs(s, n, frac, cell, periodic, radius, most_images), nears = 0;
  if (bonds < 0) return REFUSED;
  int *hi = TAKE(int, bonds), *hj = TAKE(int, bonds), *near = TAKE(int, bonds), *degree = ZEROS(int, n), *near_of = TAKE(int, bonds);
  double *length = TAKE(double, bonds), *unit = TAKE(double, 3 * bonds);
  for (int h = 0; h < bonds; h++) {
    const double *v = s->vector + 3 * h;
    hi[h] = s->ends[2 * h], hj[h] = s->ends[2 * h + 1], near_of[h] = -1;
    length[h] = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    for (int k = 0; k < 3; k++) unit[3 * h + k] = v[k] / length[h];
    if (length[h] < near_radius) {
      if (length[h] < coincident) return REFUSED;
      near_of[h] = nears, near[nears++] = h, degree[hi[h]]++, degree[hj[h]]++;
    }
  }
  for (int i = 0; i < n; i++)
    if (degree[i] > crowded) return REFUSED;

  /* directed near bonds: d < nears from i to j, the others back; angles between those that start at one atom */
  int *start = TAKE(int, 2 * nears + 1), *first, *item, angles = 0;
  for (int d = 0; d < 2 * nears; d++) start[d] = d < nears ? hi[near[d]] : hj[near[d - nears]];
  lists(s, n, 2 * nears, start, &first, &item);
  for (int i = 0; i < n; i++) angles += degree[i] * (degree[i] - 1) / 2;
  int *left = TAKE(int, angles), *right = TAKE(int, angles), t = 0;
  double *theta = TAKE(double, angles);
  for (int i = 0; i < n; i++)
    for (int x = first[i]; x < first[i + 1]; x++)
      for (int y = x + 1; y < first[i + 1]; y++, t++) {
        left[t] = item[x], right[t] = item[y];
        const double *u = unit + 3 * near[item[x] % nears], *v = unit + 3 * near[item[y] % nears];
        double dot = u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
        if ((item[x] < nears) != (item[y] < nears)) dot = -dot;
        theta[t] = acos(dot * (1 - 1e-6));
      }

  /* colours */
  int *atom_of, *bond_of = TAKE(int, bonds), *angle_of, *directed_of;
  int merged = 0, distinct = 0, atoms = n, directed = 2 * nears, near_classes = nears, bond_classes = bonds, angle_classes = angles;
  if (tolerance >= 0) {
    uint64_t *lc = TAKE(uint64_t, bonds), *kc = TAKE(uint64_t, angles), *colour = TAKE(uint64_t, n), *e = TAKE(uint64_t, 2 * nears);
    uint64_t *sum = TAKE(uint64_t, 2 * nears), *atom_sum = TAKE(uint64_t, n), *u = TAKE(uint64_t, bonds);
    cluster(s, bonds, length, tolerance, lc), cluster(s, angles, theta, tolerance, kc);
    for (int k = 0; k < angles; k++) kc[k] = mix(kc[k]);
    for (int i = 0; i < n; i++) colour[i] = mix((uint64_t)species[i]);
    for (int d = 0; d < 2 * nears; d++) {
      int h = near[d % (nears ? nears : 1)];
      e[d] = mix2(mix2(colour[d < nears ? hi[h] : hj[h]], colour[d < nears ? hj[h] : hi[h]]), lc[h]);
    }
    int atoms_before = 0, directed_before = 0;
    for (int round = 0;; round++) {
      memset(sum, 0, 2 * nears * sizeof *sum), memset(atom_sum, 0, n * sizeof *atom_sum);
      for (int k = 0; k < angles; k++) sum[left[k]] += mix(e[right[k]] ^ kc[k]), sum[right[k]] += mix(e[left[k]] ^ kc[k]);
      for (int h = 0; h < bonds; h++) {
        uint64_t a = colour[hi[h]], b = colour[hj[h]];
        int p = near_of[h];
        if (p < 0) u[h] = mix2(both(a, b), lc[h]);
        else {
          uint64_t out = mix2(mix2(a, b) ^ mix(lc[h]), sum[p]), back = mix2(mix2(b, a) ^ mix(lc[h]), sum[nears + p]);
          u[h] = both(out, back), e[p] = mix2(u[h], out), e[nears + p] = mix2(u[h], back);
        }
        atom_sum[hi[h]] += mix2(b, u[h]), atom_sum[hj[h]] += mix2(a, u[h]);
      }
      for (int i = 0; i < n; i++) colour[i] = mix2(colour[i], atom_sum[i]);
      int now = classify(s, n, colour, NULL), sides = classify(s, 2 * nears, e, NULL);
      if ((distinct = now == n && sides == 2 * nears) || (round && now == atoms_before && sides == directed_before)) { merged = 1; break; }
      if (round == 50) break; /* a chain this long is not worth it */
      atoms_before = now, directed_before = sides;
    }
    if (merged) {
      uint64_t *hash = TAKE(uint64_t, bonds > angles ? bonds : angles);
      int *of = TAKE(int, bonds);
      atom_of = identity(s, n), directed_of = identity(s, 2 * nears), angle_of = identity(s, angles);
      if (!distinct) atoms = classify(s, n, colour, atom_of), directed = classify(s, 2 * nears, e, directed_of);
      for (int p = 0; p < nears; p++) hash[p] = both(e[p], e[nears + p]), of[p] = p;
      if (!distinct) near_classes = classify(s, nears, hash, of);
      for (int p = 0; p < nears; p++) bond_of[near[p]] = of[p];
      int far = 0;
      for (int h = 0; h < bonds; h++)
        if (near_of[h] < 0) hash[far++] = mix2(both(colour[hi[h]], colour[hj[h]]), lc[h]);
      bond_classes = near_classes + classify(s, far, hash, of);
      for (int h = 0, k = 0; h < bonds; h++)
        if (near_of[h] < 0) bond_of[h] = near_classes + of[k++];
      if (!distinct) { /* angles of different sides differ */
        for (int k = 0; k < angles; k++) hash[k] = mix2(both(e[left[k]], e[right[k]]), kc[k]);
        angle_classes = classify(s, angles, hash, angle_of);
      }
    }
  }
  if (!merged) {
    atom_of = identity(s, n), directed_of = identity(s, 2 * nears), angle_of = identity(s, angles);
    for (int h = 0, far = 0; h < bonds; h++) bond_of[h] = near_of[h] >= 0 ? near_of[h] : nears + far++;
  }

  double *size = ZEROS(double, atoms);
  int *kind = TAKE(int, atoms), *head = TAKE(int, atoms);
  for (int i = n - 1; i >= 0; i--) size[atom_of[i]] += 1, kind[atom_of[i]] = (int)species[i], head[atom_of[i]] = i;
  g->atoms = atoms, g->bonds = bond_classes, g->nears = near_classes, g->directed = directed, g->angles = angle_classes;
  g->species = kind, g->size = size;
  means(s, bonds, length, bond_of, bond_classes, &g->length, &g->bond_size);
  means(s, angles, theta, angle_of, angle_classes, &g->angle, &g->angle_size);

  g->one = TAKE(int, near_classes), g->other = TAKE(int, near_classes), g->bond = TAKE(int, directed), g->centre = TAKE(int, directed);
  int *directed_head = TAKE(int, directed);
  for (int p = nears - 1; p >= 0; p--) {
    int b = bond_of[near[p]];
    g->one[b] = directed_of[p], g->other[b] = directed_of[nears + p];
  }
  for (int d = 2 * nears - 1; d >= 0; d--) {
    int k = directed_of[d];
    g->bond[k] = bond_of[near[d % nears]], g->centre[k] = atom_of[start[d]], directed_head[k] = d;
  }

  /* rows: what the first member of every class hears */
  int *owner = TAKE(int, 2 * (bonds > angles ? bonds : angles) + 1), rows = 0;
  int *stamp = TAKE(int, bond_classes);
  for (int b = 0; b < bond_classes; b++) stamp[b] = -1;
  for (int h = 0; h < bonds; h++) {
    owner[h] = head[atom_of[hi[h]]] == hi[h] ? atom_of[hi[h]] : -1;
    owner[bonds + h] = head[atom_of[hj[h]]] == hj[h] ? atom_of[hj[h]] : -1;
  }
  lists(s, atoms, 2 * bonds, owner, &first, &item);
  g->first1 = TAKE(int, atoms + 1), g->atom1 = TAKE(int, first[atoms] + 1), g->bond1 = TAKE(int, first[atoms] + 1), g->times1 = TAKE(double, first[atoms] + 1);
  for (int a = 0; a < atoms; a++) {
    g->first1[a] = rows;
    for (int x = first[a]; x < first[a + 1]; x++) {
      int h = item[x] % bonds, b = bond_of[h];
      if (stamp[b] >= g->first1[a]) { g->times1[stamp[b]] += 1; continue; }
      stamp[b] = rows;
      g->atom1[rows] = atom_of[item[x] < bonds ? hj[h] : hi[h]], g->bond1[rows] = b, g->times1[rows++] = 1;
    }
  }
  g->first1[atoms] = rows;

  for (int k = 0; k < angles; k++) {
    owner[k] = directed_head[directed_of[left[k]]] == left[k] ? directed_of[left[k]] : -1;
    owner[angles + k] = directed_head[directed_of[right[k]]] == right[k] ? directed_of[right[k]] : -1;
  }
  lists(s, directed, 2 * angles, owner, &first, &item);
  int most = first[directed] + 1;
  g->first2 = TAKE(int, directed + 1), g->other2 = TAKE(int, most), g->angle2 = TAKE(int, most), g->owner2 = TAKE(int, most), g->times2 = TAKE(double, most);
  rows = 0;
  for (int d = 0; d < directed; d++) {
    g->first2[d] = rows;
    for (int x = first[d]; x < first[d + 1]; x++) {
      int k = item[x] % angles, o = directed_of[item[x] < angles ? right[k] : left[k]], r = rows;
      if (merged && !distinct)
        for (r = g->first2[d]; r < rows && !(g->other2[r] == o && g->angle2[r] == angle_of[k]); r++) {}
      if (r < rows) { g->times2[r] += 1; continue; }
      g->other2[rows] = o, g->angle2[rows] = angle_of[k], g->owner2[rows] = d, g->times2[rows++] = 1;
    }
  }
  g->first2[directed] = rows;

  g->all_bonds = bonds, g->all_nears = nears, g->all_angles = angles;
  g->i = hi, g->j = hj, g->near = near, g->left = left, g->right = right, g->vector = unit, g->long_ = length;
  g->atom_of = atom_of, g->bond_of = bond_of, g->angle_of = angle_of;
  return FINE;
}

/* Forces (n, 3) and virial (3, 3) from the derivatives of the energy by the mean length and angle of every class. */
static void spread(Space *s, const Graph *g, int n, const double *by_length, const double *by_angle, double *forces, double *virial) {
  int nears = g->all_nears;
  double *slope = TAKE(double, 3 * g->all_bonds);
  for (int h = 0; h < g->all_bonds; h++) {
    double share = by_length[g->bond_of[h]] / g->bond_size[g->bond_of[h]];
    for (int k = 0; k < 3; k++) slope[3 * h + k] = share * g->vector[3 * h + k];
  }
  for (int t = 0; t < g->all_angles; t++) {
    int x = g->near[g->left[t] % nears], y = g->near[g->right[t] % nears];
    double sx = g->left[t] < nears ? 1 : -1, sy = g->right[t] < nears ? 1 : -1;
    const double *u = g->vector + 3 * x, *v = g->vector + 3 * y;
    double dot = sx * sy * (u[0] * v[0] + u[1] * v[1] + u[2] * v[2]), c = dot * (1 - 1e-6);
    double share = -(1 - 1e-6) / sqrt(1 - c * c) * by_angle[g->angle_of[t]] / g->angle_size[g->angle_of[t]];
    for (int k = 0; k < 3; k++) { /* d cos / d bond = (other - cos own) / length, in the direction of the stored bond */
      slope[3 * x + k] += share * (sy * v[k] * sx - dot * u[k]) / g->long_[x];
      slope[3 * y + k] += share * (sx * u[k] * sy - dot * v[k]) / g->long_[y];
    }
  }
  memset(forces, 0, 3 * n * sizeof(double)), memset(virial, 0, 9 * sizeof(double));
  for (int h = 0; h < g->all_bonds; h++)
    for (int k = 0; k < 3; k++) {
      double f = slope[3 * h + k];
      forces[3 * g->i[h] + k] += f, forces[3 * g->j[h] + k] -= f;
      for (int l = 0; l < 3; l++) virial[3 * l + k] += g->long_[h] * g->vector[3 * h + l] * f;
    }
}

#define REAL float
#define WORD int32_t
#define NAME(x) x##_float
#define SINGLE 1
#include "chgnet_network.h"
#undef REAL
#undef WORD
#undef NAME
#undef SINGLE

#define REAL double
#define WORD int64_t
#define NAME(x) x##_double
#define SINGLE 0
#include "chgnet_network.h"

typedef struct {
  int64_t crystals;
  const int64_t *offsets, *species, *order; /* order: in which crystals are taken */
  const double *frac, *cell;
  const uint8_t *periodic;
  double radius, near_radius, power, most_images, crowded, coincident, tolerance;
  double *energy, *forces, *virial, *magmoms; /* energy without the element references */
  int64_t *status, *work;                     /* work (crystals, 2): rows of atoms and of bonds that were evaluated */
} Batch;

/* Crystals of a batch, one after another, until none is left; threads share `next`. `weights` as chgnet_kernel.py lays them out. */
EXPORT void evaluate(void *space, const Batch *batch, const void *const *weights, int single, int64_t *next) {
  Space *s = space;
  for (;;) {
    int64_t place = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
    if (place >= batch->crystals) return;
    int64_t c = batch->order[place], first = batch->offsets[c];
    int n = (int)(batch->offsets[c + 1] - first);
    if (setjmp(s->full)) {
      drop(s);
      batch->status[c] = NO_MEMORY;
      continue;
    }
    reset(s);
    Graph g;
    int status = build(s, &g, n, batch->species + first, batch->frac + 3 * first, batch->cell + 9 * c, batch->periodic + 3 * c, batch->radius,
                       batch->near_radius, batch->most_images, (int)batch->crowded, batch->coincident, batch->tolerance);
    batch->status[c] = status;
    if (status != FINE) continue;
    size_t rows1 = g.first1[g.atoms], rows2 = g.first2[g.directed];
    reserve(s, (single ? sizeof(float) : sizeof(double)) * (rows1 * ATOM_LAYERS * (3 * G + F) + rows2 * (BOND_LAYERS * (3 * G + F) + ANGLE_LAYERS * (2 * G + F) + 2 * F)
               + 500 * ((size_t)g.bonds + g.angles) + 1500 * ((size_t)g.nears + g.atoms) + 200 * (size_t)g.directed) + 65536); /* about what follows takes */
    double *by_length = TAKE(double, g.bonds), *by_angle = TAKE(double, g.angles), *moment = TAKE(double, g.atoms);
    batch->energy[c] = single ? network_float(s, &g, (const float *const *)weights, batch->radius, batch->near_radius, (int)batch->power, by_length, by_angle, moment)
                              : network_double(s, &g, (const double *const *)weights, batch->radius, batch->near_radius, (int)batch->power, by_length, by_angle, moment);
    spread(s, &g, n, by_length, by_angle, batch->forces + 3 * first, batch->virial + 9 * c);
    for (int i = 0; i < n; i++) batch->magmoms[first + i] = moment[g.atom_of[i]];
    batch->work[2 * c] = (int64_t)rows1, batch->work[2 * c + 1] = (int64_t)rows2;
  }
}
