/* MD5 of LANES messages at once, one in each element of a vector: a template.
 *
 * Included by md5.h once for each width, with these defined, and undefined at the end:
 *   LANES      4, 8 or 16
 *   NAME(x)    the name of x for this width
 *   TARGET     the attribute that lets the compiler use the instructions of this width
 *   HOLD, G    see MD5_STEP and MD5_STEPS
 */

typedef uint32_t NAME(vector) __attribute__((vector_size(4 * LANES)));

#define V NAME(vector)

#define MIX(name, ...)                                                         \
    TARGET static inline __attribute__((always_inline)) V NAME(name)(V a, V b) \
    {                                                                          \
        return SHUFFLE(V, a, b, __VA_ARGS__);                                  \
    }
#define SWAP(i, bit)                                            \
    one = rows[i], other = rows[(i) + (bit)];                   \
    rows[i] = NAME(low##bit)(one, other);                       \
    rows[(i) + (bit)] = NAME(high##bit)(one, other);

/* The halves of two vectors that change places, in stretches of so many words. */
#if LANES == 16
MIX(low8, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
MIX(high8, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
MIX(low4, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
MIX(high4, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
MIX(low2, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
MIX(high2, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
MIX(low1, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
MIX(high1, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31)
#elif LANES == 8
MIX(low4, 0, 1, 2, 3, 8, 9, 10, 11)
MIX(high4, 4, 5, 6, 7, 12, 13, 14, 15)
MIX(low2, 0, 1, 8, 9, 4, 5, 12, 13)
MIX(high2, 2, 3, 10, 11, 6, 7, 14, 15)
MIX(low1, 0, 8, 2, 10, 4, 12, 6, 14)
MIX(high1, 1, 9, 3, 11, 5, 13, 7, 15)
#else
MIX(low2, 0, 1, 4, 5)
MIX(high2, 2, 3, 6, 7)
MIX(low1, 0, 4, 2, 6)
MIX(high1, 1, 5, 3, 7)
#endif

/* Transpose LANES rows of LANES words: afterwards rows[i] has word i of every message. Each stage
 * swaps, between rows whose numbers differ in one bit, the words whose positions do. Written out,
 * because a loop would keep the rows in memory. */
TARGET static inline __attribute__((always_inline)) void NAME(transpose)(V *rows)
{
    V one, other;
#if LANES == 16
    SWAP(0, 8) SWAP(1, 8) SWAP(2, 8) SWAP(3, 8) SWAP(4, 8) SWAP(5, 8) SWAP(6, 8) SWAP(7, 8)
    SWAP(8, 4) SWAP(9, 4) SWAP(10, 4) SWAP(11, 4)
    SWAP(8, 2) SWAP(9, 2) SWAP(12, 2) SWAP(13, 2)
    SWAP(8, 1) SWAP(10, 1) SWAP(12, 1) SWAP(14, 1)
#endif
#if LANES >= 8
    SWAP(0, 4) SWAP(1, 4) SWAP(2, 4) SWAP(3, 4)
    SWAP(4, 2) SWAP(5, 2)
    SWAP(4, 1) SWAP(6, 1)
#endif
    SWAP(0, 2) SWAP(1, 2)
    SWAP(0, 1) SWAP(2, 1)
}

#undef MIX
#undef SWAP

/* Take in the next `blocks` blocks of every message. `at` moves on by `steps` bytes a block: 64, or
 * 0 in a lane that idles. */
TARGET static void NAME(blocks)(V state[4], const uint8_t *at[LANES], const size_t steps[LANES],
                                size_t blocks)
{
    V a = state[0], b = state[1], c = state[2], d = state[3];
    const uint32_t *k = md5_constants;

    __asm__("" : "+r"(k)); /* from memory: to build them anew is dearer */

    while (blocks--) {
        V w[16], olda = a, oldb = b, oldc = c, oldd = d;
        for (int part = 0; part < 16 / LANES; part++) {
            for (int lane = 0; lane < LANES; lane++)
                memcpy(&w[part * LANES + lane], at[lane] + part * 4 * LANES, sizeof(V));
            NAME(transpose)(w + part * LANES);
        }
        for (int lane = 0; lane < LANES; lane++)
            at[lane] += steps[lane];
        MD5_STEPS(w, k, G)
        a += olda, b += oldb, c += oldc, d += oldd;
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = d;
}

/* Work off all jobs. A lane whose message ends takes the next job at once. */
TARGET static void NAME(run)(struct md5_job *jobs, size_t count)
{
    static const uint8_t nothing[64];
    V state[4] = {{0}};
    const uint8_t *at[LANES];
    size_t steps[LANES] = {0}, left[LANES] = {0}, next = 0, busy = 0;
    struct md5_job *job[LANES] = {0};

    for (int lane = 0; lane < LANES; lane++)
        at[lane] = nothing;
    for (;;) {
        size_t blocks = SIZE_MAX;
        for (int lane = 0; lane < LANES; lane++) {
            while (!job[lane] && next < count) {
                struct md5_job *new = &jobs[next++];
                if (!md5_next_stretch(new, &at[lane], &left[lane]))
                    continue;
                job[lane] = new;
                steps[lane] = 64;
                busy++;
                for (int i = 0; i < 4; i++)
                    state[i][lane] = new->state[i];
            }
            if (job[lane] && left[lane] < blocks)
                blocks = left[lane];
        }
        if (!busy)
            return;
        if (busy == 1 && next == count) { /* alone, the plain code is as quick or quicker */
            for (int lane = 0; lane < LANES; lane++)
                if (job[lane]) {
                    for (int i = 0; i < 4; i++)
                        job[lane]->state[i] = state[i][lane];
                    do
                        md5_plain_blocks(job[lane]->state, at[lane], left[lane]);
                    while (md5_next_stretch(job[lane], &at[lane], &left[lane]));
                }
            return;
        }
        NAME(blocks)(state, at, steps, blocks);
        for (int lane = 0; lane < LANES; lane++) {
            if (!job[lane] || (left[lane] -= blocks))
                continue;
            if (md5_next_stretch(job[lane], &at[lane], &left[lane]))
                continue;
            for (int i = 0; i < 4; i++)
                job[lane]->state[i] = state[i][lane];
            job[lane] = NULL;
            at[lane] = nothing;
            steps[lane] = 0;
            busy--;
        }
    }
}

#undef V
#undef HOLD
#undef LANES
#undef NAME
#undef TARGET
#undef G
