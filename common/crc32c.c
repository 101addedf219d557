#include "common/crc32c.h"

#include "common/bytes.h"

#include <stdbool.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* Castagnoli, reflected */

static uint32_t tables[8][256];

/* Three streams hide the latency of the crc32 instruction; their results are joined by multiplying with the
 * power of x that stands for the bytes behind, done by table: LANE_BYTES zero bytes appended to a CRC. */
#define LANE_BYTES 1024u

static uint32_t lane_shift[4][256];

static uint32_t times_x8(uint32_t crc)
{
    for (int bit = 0; bit < 8; bit++)
        crc = (crc >> 1) ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
    return crc;
}

uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    crc = ~crc;
    while (length >= 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        word = le64toh(word) ^ crc;
        crc = tables[7][word & 0xff] ^ tables[6][word >> 8 & 0xff] ^ tables[5][word >> 16 & 0xff] ^
              tables[4][word >> 24 & 0xff] ^ tables[3][word >> 32 & 0xff] ^ tables[2][word >> 40 & 0xff] ^
              tables[1][word >> 48 & 0xff] ^ tables[0][word >> 56];
        at += 8;
        length -= 8;
    }
    while (length-- > 0)
        crc = (crc >> 8) ^ tables[0][(crc ^ *at++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

static uint32_t shift_lane(uint32_t crc)
{
    return lane_shift[0][crc & 0xff] ^ lane_shift[1][crc >> 8 & 0xff] ^ lane_shift[2][crc >> 16 & 0xff] ^
           lane_shift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t start, const void *bytes,
                                                               size_t length)
{
    const uint8_t *at = bytes;
    uint64_t crc = (uint32_t)~start;

    while (length >= 3 * LANE_BYTES) {
        uint64_t second = 0;
        uint64_t third = 0;

        for (size_t i = 0; i < LANE_BYTES; i += 8) {
            uint64_t a;
            uint64_t b;
            uint64_t c;

            memcpy(&a, at + i, sizeof a);
            memcpy(&b, at + LANE_BYTES + i, sizeof b);
            memcpy(&c, at + 2 * LANE_BYTES + i, sizeof c);
            crc = _mm_crc32_u64(crc, a);
            second = _mm_crc32_u64(second, b);
            third = _mm_crc32_u64(third, c);
        }
        crc = shift_lane((uint32_t)crc) ^ second;
        crc = shift_lane((uint32_t)crc) ^ third;
        at += 3 * LANE_BYTES;
        length -= 3 * LANE_BYTES;
    }
    while (length >= 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        crc = _mm_crc32_u64(crc, word);
        at += 8;
        length -= 8;
    }
    while (length-- > 0)
        crc = _mm_crc32_u8((uint32_t)crc, *at++);
    return ~(uint32_t)crc;
}

#elif defined(__aarch64__)

#include <arm_acle.h>

__attribute__((target("+crc"))) static uint32_t crc32c_armv8(uint32_t crc, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    crc = ~crc;
    while (length >= 8) {
        uint64_t word;

        memcpy(&word, at, sizeof word);
        crc = __crc32cd(crc, word);
        at += 8;
        length -= 8;
    }
    while (length-- > 0)
        crc = __crc32cb(crc, *at++);
    return ~crc;
}

#endif

static uint32_t (*implementation)(uint32_t crc, const void *bytes, size_t length) = crc32c_table;
static const char *implementation_name = "table";

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++)
        tables[0][i] = times_x8(i);
    for (uint32_t i = 0; i < 256; i++) {
        for (int k = 1; k < 8; k++)
            tables[k][i] = (tables[k - 1][i] >> 8) ^ tables[0][tables[k - 1][i] & 0xff];
    }
    for (int byte = 0; byte < 4; byte++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i << (8 * byte);

            for (size_t n = 0; n < LANE_BYTES; n++)
                crc = (crc >> 8) ^ tables[0][crc & 0xff];
            lane_shift[byte][i] = crc;
        }
    }
}

/* Before main: no thread can see it half made. */
__attribute__((constructor)) static void choose(void)
{
    make_tables();
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2")) {
        implementation = crc32c_sse42;
        implementation_name = "sse4.2";
    }
#elif defined(__aarch64__)
    if ((getauxval(AT_HWCAP) & (1u << 7)) != 0) { /* HWCAP_CRC32 */
        implementation = crc32c_armv8;
        implementation_name = "armv8";
    }
#endif
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)
{
    return implementation(crc, bytes, length);
}

const char *crc32c_implementation(void)
{
    return implementation_name;
}
