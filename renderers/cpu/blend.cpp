// Stage 4: each tile's splats from front to back.
//
// A tile is sixteen blocks of 4 x 4 pixels, and a block is one vector: small splats fill more of its lanes than of rows
// of sixteen. For each splat one vector operation over the sixteen block centres finds the blocks that it can reach;
// only those are blended, and blocks whose pixels are all finished drop out. A pixel's own arithmetic does not depend
// on which other pixels are computed, so a rectangle equals the crop of the whole picture bit for bit.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "lanes.h"
#include "prefetch.h"
#include "raster.h"
#include "shapes.h"

namespace h3d {
namespace {

constexpr int kBlocks = 16;
constexpr int kBlockSide = 4;
constexpr int kAhead = 8;  // entries between a prefetch and its use
using Plane = float[kBlocks][kLanes];

// The running sums of a tile. Transmittance is negative where the pixel is finished.
struct alignas(64) TileSums {
    Plane transmittance, r, g, b, depth;
    Plane best;                       // largest alpha T so far
    int32_t top[kBlocks][kLanes];     // and its row
    uint32_t live;                    // one bit a block
};

// What is computed beyond colour and depth.
struct Extras {
    float* features = nullptr;  // [D, 256] sums of the tile
    float* partial_sum = nullptr;
    float* partial_max = nullptr;
    bool top_id = false;
};

struct Tile {
    int64_t number;
    int x, y;                // first pixel
    int x0, y0, x1, y1;      // pixels wanted, within the tile
    const Entry* entries;
    int64_t count;
};

// Positions of the lanes within a block, from its centre, and of the block centres, from the tile's corner.
struct Places {
    alignas(64) float lane_x[kLanes], lane_y[kLanes], center_x[kBlocks], center_y[kBlocks];
    constexpr Places() : lane_x{}, lane_y{}, center_x{}, center_y{} {
        for (int i = 0; i < kLanes; i++) {
            lane_x[i] = static_cast<float>(i % kBlockSide) - 1.5f;
            lane_y[i] = static_cast<float>(i / kBlockSide) - 1.5f;
            center_x[i] = static_cast<float>(i % kBlockSide * kBlockSide) + 2.0f;
            center_y[i] = static_cast<float>(i / kBlockSide * kBlockSide) + 2.0f;
        }
    }
};
constexpr Places kPlaces;

void begin_tile(const Tile& tile, TileSums& sums) {
    std::memset(&sums, 0, sizeof(sums));
    std::memset(sums.top, 0xff, sizeof(sums.top));
    for (int block = 0; block < kBlocks; block++) {
        for (int lane = 0; lane < kLanes; lane++) {
            const int x = block % 4 * 4 + lane % 4, y = block / 4 * 4 + lane / 4;
            const bool wanted = x >= tile.x0 && x < tile.x1 && y >= tile.y0 && y < tile.y1;
            sums.transmittance[block][lane] = wanted ? 1.0f : -1.0f;
            if (wanted) sums.live |= 1u << block;
        }
    }
}

inline void add_to(float* p, Lanes weight, Lanes value) { fma(weight, value, Lanes::load(p)).store(p); }

// What the extras need of one splat over its blocks.
struct Tally {
    Lanes sum{0.0f}, most{0.0f};
};

void add_extras(const Frame& frame, const Extras& extras, uint32_t row, const float* features, Lanes weight, int block,
                TileSums& sums, Tally& tally) {
    tally.sum = tally.sum + weight;
    tally.most = max(tally.most, weight);
    if (extras.top_id) {
        const Lanes best = Lanes::load(sums.best[block]);
        const Mask better = weight > best;
        select(better, weight, best).store(sums.best[block]);
        for (uint32_t lanes = bits(better); lanes != 0; lanes &= lanes - 1) {
            sums.top[block][std::countr_zero(lanes)] = static_cast<int32_t>(row);
        }
    }
    if (features != nullptr) {
        for (int k = 0; k < frame.settings.channels; k++) {
            add_to(extras.features + (k * kBlocks + block) * kLanes, weight, Lanes(features[k]));
        }
    }
}

const float* features_of(const Frame& frame, uint32_t row) {
    if (frame.outputs.features == nullptr) return nullptr;
    for (const SceneRows& scene : frame.scenes) {
        if (row < scene.first + scene.count) {
            return scene.features == nullptr ? nullptr
                                             : scene.features + (row - scene.first) * frame.settings.channels;
        }
    }
    return nullptr;
}

template <class S, bool kDepth, bool kExtras>
void blend_tile(const Frame& frame, const Splat* splats, const Tile& tile, const Extras& extras, TileSums& sums) {
    const Lanes lane_x = Lanes::load(kPlaces.lane_x), lane_y = Lanes::load(kPlaces.lane_y);
    const Lanes center_x = Lanes::load(kPlaces.center_x) + static_cast<float>(tile.x);
    const Lanes center_y = Lanes::load(kPlaces.center_y) + static_cast<float>(tile.y);
    const Lanes zero(0.0f);
    const bool lit = !frame.settings.normals;
    alignas(64) float block_u[kBlocks], block_v[kBlocks];
    for (int64_t i = 0; i < tile.count; i++) {
        if (i + kAhead < tile.count) prefetch(&splats[row_of(tile.entries[i + kAhead])], sizeof(Splat));
        const Entry entry = tile.entries[i];
        const Splat& s = splats[row_of(entry)];
        const Lanes a(s.a), b(s.b), c(s.c);
        // u and v at the block centres; over a block they vary by at most range_u and range_v around that.
        const Lanes dy = center_y - s.y;
        const Lanes u_center = fma(a, center_x - s.x, b * dy), v_center = c * dy;
        const float range_u = 1.5f * (s.a + std::fabs(s.b)), range_v = 1.5f * s.c;
        const Lanes u_least = max(abs(u_center) - range_u, zero), v_least = max(abs(v_center) - range_v, zero);
        const float reach = S::reach(s) * 1.0001f + 1e-5f;
        uint32_t blocks = bits(fma(u_least, u_least, v_least * v_least) <= Lanes(reach)) & sums.live;
        if (blocks == 0) continue;
        u_center.store(block_u);
        v_center.store(block_v);
        const Lanes u_lane = fma(a, lane_x, b * lane_y), v_lane = c * lane_y;
        const S shape(s);
        const float* features = kExtras ? features_of(frame, row_of(entry)) : nullptr;
        Tally tally;
        for (; blocks != 0; blocks &= blocks - 1) {
            const int block = std::countr_zero(blocks);
            const Lanes u = u_lane + block_u[block], v = v_lane + block_v[block];
            const Lanes measure = shape.measure(u, v);
            const Lanes before = Lanes::load(sums.transmittance[block]);
            const Mask hit = shape.hit(measure) & (before > zero);
            if (!any(hit)) continue;
            Lanes weight = keep(hit, shape.alpha(measure, u, v) * before);
            Lanes after = before - weight;
            const Mask finished = hit & (after <= Lanes(kStop));
            if (any(finished)) [[unlikely]] {
                weight = select(finished, zero, weight);
                after = select(finished, zero - before, after);
                if (!any(after > zero)) sums.live &= ~(1u << block);
            }
            after.store(sums.transmittance[block]);
            const Lanes tinted = S::kShaded && lit ? weight * shape.shade(measure, u, v) : weight;
            add_to(sums.r[block], tinted, Lanes(s.rgb[0]));
            add_to(sums.g[block], tinted, Lanes(s.rgb[1]));
            add_to(sums.b[block], tinted, Lanes(s.rgb[2]));
            if (kDepth) add_to(sums.depth[block], weight, Lanes(std::bit_cast<float>(static_cast<uint32_t>(entry >> 32))));
            if (kExtras) add_extras(frame, extras, row_of(entry), features, weight, block, sums, tally);
        }
        if (kExtras && extras.partial_sum != nullptr) {
            extras.partial_sum[i] = sum(tally.sum);
            extras.partial_max[i] = largest(tally.most);
        }
        if (sums.live == 0) break;
    }
}

using BlendTile = void (*)(const Frame&, const Splat*, const Tile&, const Extras&, TileSums&);

BlendTile kernel_for(const Frame& frame, bool extras) {
    switch (frame.settings.shape) {
        case Shape::points: return blend_tile<PointShape, true, true>;
        case Shape::ellipsoids: return blend_tile<EllipsoidShape, true, true>;
        case Shape::rings: return blend_tile<RingShape, true, true>;
        case Shape::splats: break;
    }
    if (extras) return blend_tile<SplatShape, true, true>;
    return frame.outputs.depth != nullptr ? blend_tile<SplatShape, true, false> : blend_tile<SplatShape, false, false>;
}

uint8_t to_byte(float x) { return static_cast<uint8_t>(std::nearbyint(std::min(std::max(x, 0.0f), 1.0f) * 255.0f)); }

// The tile's pixels into the outputs.
void write_tile(const Frame& frame, const Tile& tile, const TileSums& sums, const Extras& extras) {
    const Settings& set = frame.settings;
    const Outputs& out = frame.outputs;
    for (int y = tile.y0; y < tile.y1; y++) {
        for (int x = tile.x0; x < tile.x1; x++) {
            const int block = y / 4 * 4 + x / 4, lane = y % 4 * 4 + x % 4;
            const int64_t pixel = static_cast<int64_t>(tile.y + y - set.y0) * frame.out_width() + tile.x + x - set.x0;
            const float rest = std::fabs(sums.transmittance[block][lane]), alpha = 1.0f - rest;
            const float rgb[3] = {sums.r[block][lane] + rest * set.background[0],
                                  sums.g[block][lane] + rest * set.background[1],
                                  sums.b[block][lane] + rest * set.background[2]};
            for (int k = 0; k < 3; k++) {
                if (out.rgb != nullptr) out.rgb[3 * pixel + k] = rgb[k];
                if (out.rgb_bytes != nullptr) out.rgb_bytes[3 * pixel + k] = to_byte(rgb[k]);
            }
            out.alpha[pixel] = alpha;
            if (out.depth != nullptr) out.depth[pixel] = alpha > 0.0f ? sums.depth[block][lane] / alpha : 0.0f;
            if (out.top_id != nullptr) out.top_id[pixel] = sums.top[block][lane];
            for (int k = 0; k < set.channels && out.features != nullptr; k++) {
                out.features[pixel * set.channels + k] = extras.features[(k * kBlocks + block) * kLanes + lane];
            }
        }
    }
}

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

// Partial sums to their rows, tile by tile: the same order, hence the same bits, at any number of threads.
void add_contributions(const Frame& frame, const RasterState& state, int64_t entries) {
    float* total = frame.outputs.contribution_sum;
    float* most = frame.outputs.contribution_max;
    for (int64_t i = 0; i < entries; i++) {
        const uint32_t row = row_of(state.entries[i]);
        total[row] += state.partial_sum[i];
        most[row] = std::max(most[row], state.partial_max[i]);
    }
}

}  // namespace

bool blend(const Frame& frame, RasterState& state, Pool& pool, Band band) {
    const Outputs& out = frame.outputs;
    const int64_t* starts = state.tile_starts.data();
    const int64_t origin = starts[band.begin], entries = starts[band.end] - origin;
    const bool contributions = out.contribution_sum != nullptr;
    if (contributions) {
        std::memset(state.partial_sum.ensure(entries), 0, sizeof(float) * entries);
        std::memset(state.partial_max.ensure(entries), 0, sizeof(float) * entries);
    }
    const size_t feature_sums = out.features == nullptr ? 0 : static_cast<size_t>(frame.settings.channels) * 256;
    state.blend_space.resize(pool.threads());
    for (Buffer<float>& space : state.blend_space) space.ensure(feature_sums);
    const BlendTile kernel = kernel_for(frame, contributions || out.features != nullptr || out.top_id != nullptr);
    const bool done = pool.run(band.end - band.begin, frame.cancel, [&](int worker, int64_t item) {
        const Tile tile = tile_at(frame, state, band, band.begin + item);
        Extras extras;
        extras.features = state.blend_space[worker].data();
        extras.top_id = out.top_id != nullptr;
        if (contributions) {
            extras.partial_sum = state.partial_sum.data() + (starts[tile.number] - origin);
            extras.partial_max = state.partial_max.data() + (starts[tile.number] - origin);
        }
        std::memset(extras.features, 0, sizeof(float) * feature_sums);
        TileSums sums;
        begin_tile(tile, sums);
        kernel(frame, state.splats.data(), tile, extras, sums);
        write_tile(frame, tile, sums, extras);
    });
    if (done && contributions) add_contributions(frame, state, entries);
    return done;
}

}  // namespace h3d
