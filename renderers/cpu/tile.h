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

struct alignas(64) TileSums {
    Plane transmittance, r, g, b, depth;
    Plane best;                         // largest alpha T so far
    int32_t top[kBlocks][kLanes];       // and its row
    uint16_t alive[kBlocks];            // one bit a pixel: wanted and not finished
    float* features;                    // [D, 16, 16]
};

// Transmittance 1, sums 0, alive where a pixel is wanted.
void begin_tile(const Frame& frame, const Tile& tile, float* features, TileSums& sums);

// The wanted pixels into the outputs, the background blended in.
void write_tile(const Frame& frame, const Tile& tile, TileSums& sums);

// The same for a tile that no splat touches.
void write_empty_tile(const Frame& frame, const Tile& tile);

}  // namespace h3d
