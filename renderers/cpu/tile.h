// A tile on the bench: 16 x 16 pixels as sixteen blocks of 4 x 4, one vector a block, and its running sums.
#pragma once

#include <cstdint>

#include "lanes.h"
#include "raster.h"

namespace h3d {

constexpr int kBlocks = 16;
constexpr int kBlockSide = 4;
using Plane = float[kBlocks][kLanes];

struct Tile {
    int64_t number;
    int x, y;            // first pixel
    int x0, y0, x1, y1;  // pixels wanted, within the tile
    const Entry* entries;
    int64_t count;
};

// Where pixel x, y of the tile lies: its block, and its lane there.
inline int block_of(int x, int y) { return y / kBlockSide * kBlockSide + x / kBlockSide; }
inline int lane_of(int x, int y) { return y % kBlockSide * kBlockSide + x % kBlockSide; }

// Where it lies in the outputs.
inline int64_t pixel_at(const Frame& frame, const Tile& tile, int x, int y) {
    return static_cast<int64_t>(tile.y + y - frame.settings.y0) * frame.out_width() + tile.x + x - frame.settings.x0;
}

struct alignas(64) TileSums {
    Plane transmittance, r, g, b, depth;
    Plane best;                         // largest alpha T so far
    int32_t top[kBlocks][kLanes];       // and its row
    uint16_t alive[kBlocks];            // one bit a pixel: wanted and not finished
    float* features;                    // [D, 16, 16]
};

// Tile `number` of the grid, which lies in the band.
Tile tile_at(const Frame& frame, const RasterState& state, Band band, int64_t number);

// One bit a pixel of each block: whether it is wanted.
void mark_wanted(const Tile& tile, uint16_t alive[kBlocks]);

// Transmittance 1, sums 0, alive where a pixel is wanted.
void begin_tile(const Frame& frame, const Tile& tile, float* features, TileSums& sums);

// The wanted pixels into the outputs, the background blended in.
void write_tile(const Frame& frame, const Tile& tile, TileSums& sums);

// The same for a tile that no splat touches.
void write_empty_tile(const Frame& frame, const Tile& tile);

}  // namespace h3d
