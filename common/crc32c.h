/* CRC-32C (Castagnoli, reflected 0x82F63B78), as record batches, producer snapshots and the metadata log use
 * it.
 *
 * The fastest implementation this CPU has is chosen once; any thread. */
#ifndef PENSTOCK_COMMON_CRC32C_H
#define PENSTOCK_COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to start) over the bytes. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);

/* The plain table form, for tests to compare with. */
uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t length);

/* "table", "sse4.2" or "armv8". */
const char *crc32c_implementation(void);

#endif
