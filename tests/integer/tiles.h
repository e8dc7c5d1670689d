/* The tiles of AMX in plain C, for processors without them: included before the sources of the native engine. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static __thread struct {
    uint8_t bytes[16][64];
} tiles[8];

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#define _tile_loadconfig(config) (void)(config)
#define _tile_release() (void)0
#define _tile_zero(own) memset(&tiles[own], 0, sizeof tiles[own])
#define _tile_loadd(own, from, stride) \
    for (size_t row = 0; row < 16; row++) memcpy(tiles[own].bytes[row], (const uint8_t *)(from) + row * (size_t)(stride), 64)
#define _tile_stored(own, to, stride) \
    for (size_t row = 0; row < 16; row++) memcpy((uint8_t *)(to) + row * (size_t)(stride), tiles[own].bytes[row], 64)
#define _tile_dpbsud(sum, a, b) multiply(sum, a, b)

static inline void multiply(int sum, int a, int b) {
    for (int row = 0; row < 16; row++)
        for (int lane = 0; lane < 16; lane++) {
            uint32_t total;
            memcpy(&total, &tiles[sum].bytes[row][4 * lane], 4);
            for (int k = 0; k < 64; k++)
                total += (uint32_t)((int8_t)tiles[a].bytes[row][k] * tiles[b].bytes[k / 4][4 * lane + k % 4]);
            memcpy(&tiles[sum].bytes[row][4 * lane], &total, 4);
        }
}
