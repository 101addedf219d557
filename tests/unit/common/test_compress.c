#include "common/compress.h"

#include <lz4frame.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_BYTES = 200000, ROOM_BYTES = 2 * TEXT_BYTES };

static char text[TEXT_BYTES];

static int make_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23);
    return 0;
}

/* The text as one LZ4 frame; its length. */
static size_t lz4_frame(LZ4F_blockMode_t mode, char *to)
{
    LZ4F_preferences_t preferences = {.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = mode}};
    size_t length = LZ4F_compressFrame(to, ROOM_BYTES, text, sizeof text, &preferences);

    assert_false(LZ4F_isError(length));
    return length;
}

static enum pst_status inflate(const char *at, size_t length, struct buf *out)
{
    buf_init(out, ROOM_BYTES);
    return decompress_append(COMPRESS_LZ4, (struct str){at, length}, out);
}

static void lz4_blocks_that_refer_to_earlier_ones_are_corrupt(void **state)
{
    char *frame = malloc(ROOM_BYTES);
    struct buf out;

    (void)state;
    assert_non_null(frame);
    assert_int_equal(inflate(frame, lz4_frame(LZ4F_blockLinked, frame), &out), PST_CORRUPT);
    buf_free(&out);
    free(frame);
}

static void a_skippable_lz4_frame_is_corrupt(void **state)
{
    static const char skippable[] = "\x50\x2a\x4d\x18\x20\0\0\0"
                                    "skipped by the LZ4 library, 32 B.";
    char *frame = malloc(ROOM_BYTES);
    size_t length;
    struct buf out;

    (void)state;
    assert_non_null(frame);
    memcpy(frame, skippable, 8 + 32);
    length = lz4_frame(LZ4F_blockIndependent, frame + 40);
    assert_int_equal(inflate(frame, 40 + length, &out), PST_CORRUPT);
    buf_free(&out);
    free(frame);
}

static void every_cut_lz4_head_is_corrupt(void **state)
{
    char *frame = malloc(ROOM_BYTES);
    size_t length;

    (void)state;
    assert_non_null(frame);
    length = lz4_frame(LZ4F_blockIndependent, frame);
    for (size_t cut = 0; cut < 64; cut++) {
        struct buf out;

        assert_int_equal(inflate(frame, cut, &out), PST_CORRUPT);
        buf_free(&out);
        assert_int_equal(inflate(frame, length - 1 - cut, &out), PST_CORRUPT);
        buf_free(&out);
    }
    free(frame);
}

static void independent_lz4_blocks_are_read_also_in_two_frames(void **state)
{
    char *frames = malloc(2 * ROOM_BYTES);
    size_t length;
    struct buf out;

    (void)state;
    assert_non_null(frames);
    length = lz4_frame(LZ4F_blockIndependent, frames);
    length += lz4_frame(LZ4F_blockIndependent, frames + length);
    assert_int_equal(inflate(frames, length, &out), PST_OK);
    assert_int_equal(buf_view(&out).length, 2 * sizeof text);
    assert_memory_equal(buf_view(&out).at, text, sizeof text);
    assert_memory_equal(buf_view(&out).at + sizeof text, text, sizeof text);
    buf_free(&out);
    free(frames);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lz4_blocks_that_refer_to_earlier_ones_are_corrupt),
        cmocka_unit_test(a_skippable_lz4_frame_is_corrupt),
        cmocka_unit_test(every_cut_lz4_head_is_corrupt),
        cmocka_unit_test(independent_lz4_blocks_are_read_also_in_two_frames),
    };

    return cmocka_run_group_tests(tests, make_text, NULL);
}
