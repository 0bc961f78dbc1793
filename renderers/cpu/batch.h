// Entries of a tile, 64 at a time, and which of its blocks each can reach: what blending and its gradients walk through.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lanes.h"
#include "prefetch.h"
#include "raster.h"
#include "tile.h"

namespace h3d {

constexpr int kBatch = 64;
constexpr int kAhead = 16;  // entries between a prefetch and its use

// Some entries of a tile, their splats side by side.
struct Batch {
    int count = 0;
    const Entry* entries = nullptr;
    Splat splats[kBatch];
    uint64_t of_block[kBlocks];  // one bit an entry
};

// Centres of the blocks, and of the lanes of block 0, from the tile's corner.
struct Places {
    alignas(64) float center_x[kBlocks], center_y[kBlocks], lane_x[kLanes], lane_y[kLanes];
    constexpr Places() : center_x{}, center_y{}, lane_x{}, lane_y{} {
        for (int i = 0; i < kLanes; i++) {
            const auto column = static_cast<float>(i % kBlockSide), row = static_cast<float>(i / kBlockSide);
            center_x[i] = column * kBlockSide + 2.0f, center_y[i] = row * kBlockSide + 2.0f;
            lane_x[i] = column + 0.5f, lane_y[i] = row + 0.5f;
        }
    }
};
inline constexpr Places kPlaces;

// An 8 x 8 matrix of bits, a row a byte, with rows and columns exchanged (Warren, Hacker's Delight, 7-3).
inline uint64_t transposed(uint64_t x) {
    uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aaull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000ccccull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0ull;
    return x ^ t ^ (t << 28);
}

static_assert(std::endian::native == std::endian::little, "transpose() reads the bytes of words in order");

// From sixteen bits an entry to 64 bits a block.
inline void transpose(const uint8_t low[kBatch], const uint8_t high[kBatch], uint64_t of_block[kBlocks]) {
    uint8_t bytes[kBlocks][8];
    for (int group = 0; group < 8; group++) {
        uint64_t a, b;
        std::memcpy(&a, low + 8 * group, 8);
        std::memcpy(&b, high + 8 * group, 8);
        a = transposed(a), b = transposed(b);
        for (int bit = 0; bit < 8; bit++) {
            bytes[bit][group] = static_cast<uint8_t>(a >> (8 * bit));
            bytes[bit + 8][group] = static_cast<uint8_t>(b >> (8 * bit));
        }
    }
    std::memcpy(of_block, bytes, sizeof(bytes));
}

// The splats of entries [begin, begin + kBatch), and which blocks each can reach.
template <class S>
inline void load_batch(const Splat* splats, const Tile& tile, int64_t begin, Batch& batch) {
    const Lanes center_x = Lanes::load(kPlaces.center_x) + static_cast<float>(tile.x);
    const Lanes center_y = Lanes::load(kPlaces.center_y) + static_cast<float>(tile.y);
    const Lanes zero(0.0f);
    batch.entries = tile.entries + begin;
    batch.count = static_cast<int>(std::min<int64_t>(kBatch, tile.count - begin));
    alignas(8) uint8_t low[kBatch] = {}, high[kBatch] = {};
    for (int i = 0; i < batch.count; i++) {
        if (begin + i + kAhead < tile.count) {
            prefetch(&splats[row_of(batch.entries[i + kAhead])], sizeof(Splat));
        }
        const Splat s = splats[row_of(batch.entries[i])];
        batch.splats[i] = s;
        const Lanes dy = center_y - s.y;
        const Lanes u = fma(Lanes(s.a), center_x - s.x, s.b * dy), v = s.c * dy;
        // Over a block u and v stray by at most this much from their values at its centre.
        const float stray_u = 1.5f * (s.a + std::fabs(s.b)), stray_v = 1.5f * s.c;
        const Lanes u_least = max(abs(u) - stray_u, zero), v_least = max(abs(v) - stray_v, zero);
        const float reach = S::reach(s) * 1.0001f + 1e-5f;
        const uint32_t blocks = bits(fma(u_least, u_least, v_least * v_least) <= Lanes(reach));
        low[i] = static_cast<uint8_t>(blocks), high[i] = static_cast<uint8_t>(blocks >> 8);
    }
    transpose(low, high, batch.of_block);
}

// The centres of a block's pixels.
inline Lanes pixel_x(const Tile& tile, int block) {
    return Lanes::load(kPlaces.lane_x) + static_cast<float>(tile.x + block % kBlockSide * kBlockSide);
}
inline Lanes pixel_y(const Tile& tile, int block) {
    return Lanes::load(kPlaces.lane_y) + static_cast<float>(tile.y + block / kBlockSide * kBlockSide);
}

// A row's features, or null.
inline const float* features_of(const Frame& frame, uint32_t row) {
    for (const SceneRows& scene : frame.scenes) {
        if (row < scene.first + scene.count) {
            return scene.features == nullptr ? nullptr
                                             : scene.features + (row - scene.first) * frame.settings.channels;
        }
    }
    return nullptr;
}

}  // namespace h3d
