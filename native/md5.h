/* MD5 of many messages at once, without Python: the jobs, and the ways to work them off.
 *
 * MD5 is one long chain of dependent steps, so one message cannot be hashed faster than a processor
 * adds and rotates. Several messages can: one in each element of a vector, for the price of one.
 */

#ifndef STREAMTOS3_MD5_H
#define STREAMTOS3_MD5_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__)
#error "the vector types of GCC or Clang are needed; without them hashlib is used"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian processors; elsewhere hashlib is used"
#endif

/* One message. */
struct md5_job {
    uint32_t state[4];
    const uint8_t *data; /* whole blocks, not copied */
    size_t blocks;
    uint8_t tail[128]; /* the last bytes with the padding */
    size_t tail_blocks;
};

static const uint32_t md5_initial[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};

static inline void md5_begin(struct md5_job *job, const uint8_t *data, size_t size)
{
    size_t rest = size % 64;
    uint64_t bits = (uint64_t)size * 8;

    memcpy(job->state, md5_initial, sizeof md5_initial);
    job->data = data;
    job->blocks = size / 64;
    job->tail_blocks = rest < 56 ? 1 : 2;
    memset(job->tail, 0, sizeof job->tail);
    if (rest)
        memcpy(job->tail, data + size - rest, rest);
    job->tail[rest] = 0x80;
    memcpy(job->tail + 64 * job->tail_blocks - 8, &bits, 8);
}

/* The next blocks that lie side by side: the data, then the tail; 0 where there are no more. */
static inline int md5_next_stretch(struct md5_job *job, const uint8_t **at, size_t *blocks)
{
    if (job->blocks) {
        *at = job->data;
        *blocks = job->blocks;
        job->blocks = 0;
        return 1;
    }
    *at = job->tail;
    *blocks = job->tail_blocks;
    job->tail_blocks = 0;
    return *blocks != 0;
}

static const uint32_t md5_constants[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

/* The 64 steps on a, b, c, d, sixteen words `w` and the constants `k`: numbers or vectors, the text
 * is the same. First what does not wait for the step before is added, and HOLD, an empty instruction,
 * keeps the compiler from adding in another order: that made each step a fifth longer. The second
 * function is a sum where there is no instruction for it: its halves have no bit in common. */
#define MD5_ROTATE(x, s) ((x) << (s) | (x) >> (32 - (s)))
#define MD5_STEP(f, a, b, c, d, x, k, s) \
    a += (x) + (k);                      \
    HOLD(a);                             \
    f(a, b, c, d);                       \
    a = MD5_ROTATE(a, s) + (b);
#define MD5_F(a, b, c, d) a += (d) ^ ((b) & ((c) ^ (d)))
#define MD5_G(a, b, c, d) a += (c) ^ ((d) & ((b) ^ (c)))
#define MD5_G_SUM(a, b, c, d) a += ~(d) & (c), a += (d) & (b)
#define MD5_H(a, b, c, d) a += (b) ^ (c) ^ (d)
#define MD5_I(a, b, c, d) a += (c) ^ ((b) | ~(d))
#define MD5_FOUR(f, w, m, n, k, i, p, q, r, s)                                 \
    MD5_STEP(f, a, b, c, d, w[((m) * (i) + (n)) % 16], k[i], p)                \
    MD5_STEP(f, d, a, b, c, w[((m) * ((i) + 1) + (n)) % 16], k[(i) + 1], q)    \
    MD5_STEP(f, c, d, a, b, w[((m) * ((i) + 2) + (n)) % 16], k[(i) + 2], r)    \
    MD5_STEP(f, b, c, d, a, w[((m) * ((i) + 3) + (n)) % 16], k[(i) + 3], s)
#define MD5_ROUND(f, w, m, n, k, i, p, q, r, s)         \
    MD5_FOUR(f, w, m, n, k, i, p, q, r, s)              \
    MD5_FOUR(f, w, m, n, k, (i) + 4, p, q, r, s)        \
    MD5_FOUR(f, w, m, n, k, (i) + 8, p, q, r, s)        \
    MD5_FOUR(f, w, m, n, k, (i) + 12, p, q, r, s)
#define MD5_STEPS(w, k, g)                              \
    MD5_ROUND(MD5_F, w, 1, 0, k, 0, 7, 12, 17, 22)      \
    MD5_ROUND(g, w, 5, 1, k, 16, 5, 9, 14, 20)          \
    MD5_ROUND(MD5_H, w, 3, 5, k, 32, 4, 11, 16, 23)     \
    MD5_ROUND(MD5_I, w, 7, 0, k, 48, 6, 10, 15, 21)

#define HOLD(a) __asm__("" : "+r"(a))

static void md5_plain_blocks(uint32_t state[4], const uint8_t *at, size_t blocks)
{
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], w[16];

    for (; blocks--; at += 64) {
        uint32_t olda = a, oldb = b, oldc = c, oldd = d;
        memcpy(w, at, 64);
        MD5_STEPS(w, md5_constants, MD5_G_SUM)
        a += olda, b += oldb, c += oldc, d += oldd;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
}

static void md5_plain_run(struct md5_job *jobs, size_t count)
{
    const uint8_t *at;
    size_t blocks;

    for (struct md5_job *job = jobs; job < jobs + count; job++)
        while (md5_next_stretch(job, &at, &blocks))
            md5_plain_blocks(job->state, at, blocks);
}

/* Clang and GCC spell a shuffle by constants differently; newer GCC knows both spellings. */
#if defined(__clang__)
#define SHUFFLE(V, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(V, a, b, ...) __builtin_shuffle(a, b, (V){__VA_ARGS__})
#endif

#undef HOLD

#if defined(__x86_64__)
#define HOLD(a) __asm__("" : "+v"(a))
#define LANES 16
#define NAME(x) md5_avx512_##x
#define TARGET __attribute__((target("avx512f")))
#define G MD5_G
#include "md5_block.h"
#define HOLD(a) __asm__("" : "+v"(a))
#define LANES 8
#define NAME(x) md5_avx512_half_##x
#define TARGET __attribute__((target("avx512f,avx512vl")))
#define G MD5_G
#include "md5_block.h"
#define HOLD(a) __asm__("" : "+x"(a))
#define LANES 8
#define NAME(x) md5_avx2_##x
#define TARGET __attribute__((target("avx2")))
#define G MD5_G_SUM
#include "md5_block.h"
#define HOLD(a) __asm__("" : "+x"(a))
#define LANES 4
#define NAME(x) md5_sse2_##x
#define TARGET
#define G MD5_G_SUM
#include "md5_block.h"

/* Half a register is quicker than a whole one where that is enough. */
static void md5_avx512_either_run(struct md5_job *jobs, size_t count)
{
    (count <= 8 ? md5_avx512_half_run : md5_avx512_run)(jobs, count);
}
#elif defined(__aarch64__)
#define HOLD(a) __asm__("" : "+w"(a))
#define LANES 4
#define NAME(x) md5_neon_##x
#define TARGET
#define G MD5_G_SUM
#include "md5_block.h"
#endif

/* A way to work off jobs. Up to `lanes` messages of a size take hardly longer than one of them. */
struct md5_kind {
    const char *name;
    int lanes;
    void (*run)(struct md5_job *jobs, size_t count);
};

/* The widest first. */
static const struct md5_kind md5_kinds[] = {
#if defined(__x86_64__)
    {"avx512", 16, md5_avx512_either_run},
    {"avx2", 8, md5_avx2_run},
    {"sse2", 4, md5_sse2_run},
#elif defined(__aarch64__)
    {"neon", 4, md5_neon_run},
#endif
    {"plain", 1, md5_plain_run},
};

#define MD5_KINDS (sizeof md5_kinds / sizeof *md5_kinds)

/* Whether the processor and the system have what this way needs. */
static int md5_is_available(const struct md5_kind *kind)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(kind->name, "avx512"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    if (!strcmp(kind->name, "avx2"))
        return __builtin_cpu_supports("avx2") != 0;
#endif
    return kind != NULL;
}

#endif
