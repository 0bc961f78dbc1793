// Beginning and end of a tile: clearing its sums, and turning them into pixels.
#include "tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace h3d {
namespace {

uint32_t to_byte(float x) {
    return static_cast<uint32_t>(std::nearbyint(std::min(std::max(x, 0.0f), 1.0f) * 255.0f));
}

// Three bytes a pixel from words r | g << 8 | b << 16. A word is four bytes, so all but the last pixel may be stored
// whole: the next pixel overwrites the spill.
void write_bytes(const uint32_t* words, int count, uint8_t* out) {
    for (int i = 0; i + 1 < count; i++) std::memcpy(out + 3 * i, words + i, 4);
    std::memcpy(out + 3 * (count - 1), words + count - 1, 3);
}

// Colour with the background behind it, alpha, and expected depth, in place of the sums.
void finish(const Frame& frame, TileSums& sums, uint32_t words[kBlocks][kLanes]) {
    const float* background = frame.settings.background;
    const Lanes zero(0.0f), one(1.0f);
    alignas(64) int32_t bytes[3][kLanes];
    for (int block = 0; block < kBlocks; block++) {
        const Lanes rest = Lanes::load(sums.transmittance[block]);
        const Lanes alpha = one - rest;
        Plane* planes[3] = {&sums.r, &sums.g, &sums.b};
        for (int k = 0; k < 3; k++) {
            float* plane = (*planes[k])[block];
            const Lanes color = fma(rest, Lanes(background[k]), Lanes::load(plane));
            color.store(plane);
            if (frame.outputs.rgb_bytes != nullptr) store_rounded(min(max(color, zero), one) * 255.0f, bytes[k]);
        }
        if (frame.outputs.rgb_bytes != nullptr) {
            for (int i = 0; i < kLanes; i++) {
                words[block][i] = static_cast<uint32_t>(bytes[0][i] | bytes[1][i] << 8 | bytes[2][i] << 16);
            }
        }
        alpha.store(sums.transmittance[block]);
        const Mask some = alpha > zero;
        keep(some, Lanes::load(sums.depth[block]) / select(some, alpha, one)).store(sums.depth[block]);
    }
}

// Pixels [x0, x1) of one row of a plane, which lie in pieces of four.
inline void copy_row(const Plane& plane, int y, int x0, int x1, float* out) {
    if (x0 == 0 && x1 == kTile) {
        for (int piece = 0; piece < kTile; piece += kBlockSide) {
            std::memcpy(out + piece, plane[block_of(piece, y)] + lane_of(0, y), sizeof(float) * kBlockSide);
        }
        return;
    }
    for (int x = x0; x < x1; x++) out[x - x0] = plane[block_of(x, y)][lane_of(x, y)];
}

void write_rgb_row(const TileSums& sums, int y, int x0, int x1, float* out) {
    for (int x = x0; x < x1; x++, out += 3) {
        const int block = block_of(x, y), lane = lane_of(x, y);
        out[0] = sums.r[block][lane], out[1] = sums.g[block][lane], out[2] = sums.b[block][lane];
    }
}

}  // namespace

Tile tile_at(const Frame& frame, const RasterState& state, Band band, int64_t number) {
    const Settings& set = frame.settings;
    const int64_t* starts = state.tile_starts.data();
    Tile tile{};
    tile.number = number;
    tile.x = static_cast<int>(state.grid.x0 + number % state.grid.columns) * kTile;
    tile.y = static_cast<int>(state.grid.y0 + number / state.grid.columns) * kTile;
    tile.x0 = std::max(set.x0 - tile.x, 0), tile.y0 = std::max(set.y0 - tile.y, 0);
    tile.x1 = std::min(set.x1 - tile.x, kTile), tile.y1 = std::min(set.y1 - tile.y, kTile);
    tile.entries = state.entries.data() + (starts[number] - starts[band.begin]);
    tile.count = starts[number + 1] - starts[number];
    return tile;
}

void mark_wanted(const Tile& tile, uint16_t alive[kBlocks]) {
    if (tile.x0 == 0 && tile.y0 == 0 && tile.x1 == kTile && tile.y1 == kTile) {
        std::memset(alive, 0xff, sizeof(uint16_t) * kBlocks);
        return;
    }
    std::memset(alive, 0, sizeof(uint16_t) * kBlocks);
    for (int y = tile.y0; y < tile.y1; y++) {
        for (int x = tile.x0; x < tile.x1; x++) {
            alive[block_of(x, y)] |= static_cast<uint16_t>(1u << lane_of(x, y));
        }
    }
}

void begin_tile(const Frame& frame, const Tile& tile, float* features, TileSums& sums) {
    std::memset(&sums.r, 0, sizeof(Plane) * 4);
    if (frame.outputs.top_id != nullptr) {
        std::memset(sums.best, 0, sizeof(sums.best));
        std::memset(sums.top, 0xff, sizeof(sums.top));
    }
    sums.features = features;
    if (features != nullptr) {
        std::memset(features, 0, sizeof(float) * frame.settings.channels * kBlocks * kLanes);
    }
    std::fill(&sums.transmittance[0][0], &sums.transmittance[0][0] + kBlocks * kLanes, 1.0f);
    mark_wanted(tile, sums.alive);
}

void write_tile(const Frame& frame, const Tile& tile, TileSums& sums) {
    const Outputs& out = frame.outputs;
    const int x0 = tile.x0, x1 = tile.x1;
    alignas(64) uint32_t words[kBlocks][kLanes];
    finish(frame, sums, words);
    for (int y = tile.y0; y < tile.y1; y++) {
        const int64_t pixel = pixel_at(frame, tile, x0, y);
        if (out.rgb_bytes != nullptr) {
            uint32_t row[kTile];
            for (int x = x0; x < x1; x++) row[x - x0] = words[block_of(x, y)][lane_of(x, y)];
            write_bytes(row, x1 - x0, out.rgb_bytes + 3 * pixel);
        }
        if (out.rgb != nullptr) write_rgb_row(sums, y, x0, x1, out.rgb + 3 * pixel);
        copy_row(sums.transmittance, y, x0, x1, out.alpha + pixel);
        if (out.depth != nullptr) copy_row(sums.depth, y, x0, x1, out.depth + pixel);
        for (int x = x0; x < x1 && out.top_id != nullptr; x++) {
            out.top_id[pixel + x - x0] = sums.top[block_of(x, y)][lane_of(x, y)];
        }
        const int channels = out.features != nullptr ? frame.settings.channels : 0;
        for (int k = 0; k < channels; k++) {
            const float* plane = sums.features + k * kBlocks * kLanes;
            for (int x = x0; x < x1; x++) {
                out.features[(pixel + x - x0) * channels + k] = plane[block_of(x, y) * kLanes + lane_of(x, y)];
            }
        }
    }
}

void write_empty_tile(const Frame& frame, const Tile& tile) {
    const Outputs& out = frame.outputs;
    const float* background = frame.settings.background;
    const int count = tile.x1 - tile.x0;
    uint32_t words[kTile];
    std::fill(words, words + kTile, to_byte(background[0]) | to_byte(background[1]) << 8 | to_byte(background[2]) << 16);
    for (int y = tile.y0; y < tile.y1; y++) {
        const int64_t pixel = pixel_at(frame, tile, tile.x0, y);
        if (out.rgb_bytes != nullptr) write_bytes(words, count, out.rgb_bytes + 3 * pixel);
        if (out.rgb != nullptr) {
            for (int i = 0; i < 3 * count; i++) out.rgb[3 * pixel + i] = background[i % 3];
        }
        std::fill_n(out.alpha + pixel, count, 0.0f);
        if (out.depth != nullptr) std::fill_n(out.depth + pixel, count, 0.0f);
        if (out.top_id != nullptr) std::fill_n(out.top_id + pixel, count, -1);
        const int64_t channels = frame.settings.channels;
        if (out.features != nullptr) std::fill_n(out.features + pixel * channels, count * channels, 0.0f);
    }
}

}  // namespace h3d
