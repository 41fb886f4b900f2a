/* MD5s of the messages on standard input, by the code of the extension but without Python, so that
 * a sanitizer or valgrind sees every access: md5_harness KIND SHIFT.
 *
 * A message is its length in 4 bytes (this machine's order) and its bytes. Each gets memory of its
 * own that ends with it and begins SHIFT bytes before it. Its MD5 is printed on a line.
 */

#include <stdio.h>
#include <stdlib.h>

#include "md5.h"

static void print(const struct md5_job *job)
{
    for (int i = 0; i < 16; i++)
        printf("%02x", ((const uint8_t *)job->state)[i]);
    putchar('\n');
}

int main(int argc, char **argv)
{
    const struct md5_kind *kind = NULL;
    size_t count = 0, shift = argc > 2 ? (size_t)atoi(argv[2]) : 0;
    uint8_t *memory[256];
    uint32_t sizes[256];
    struct md5_job *jobs;

    for (size_t i = 0; argc > 1 && i < MD5_KINDS; i++)
        if (!strcmp(md5_kinds[i].name, argv[1]) && md5_is_available(&md5_kinds[i]))
            kind = &md5_kinds[i];
    if (!kind)
        return 77;
    while (count < 256 && fread(&sizes[count], 4, 1, stdin) == 1) {
        memory[count] = malloc(shift + sizes[count]);
        if (fread(memory[count] + shift, 1, sizes[count], stdin) != sizes[count])
            return 1;
        count++;
    }
    jobs = calloc(count, sizeof *jobs);
    for (size_t i = 0; i < count; i++)
        md5_begin(&jobs[i], memory[i] + shift, sizes[i]);
    kind->run(jobs, count);
    for (size_t i = 0; i < count; i++)
        print(&jobs[i]);
    for (size_t i = 0; i < count; i++)
        free(memory[i]);
    free(jobs);
    return 0;
}
