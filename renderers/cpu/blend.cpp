// Stage 4: each tile's splats from front to back.
//
// A tile is sixteen blocks of 4 x 4 pixels, and a block is one vector: small splats fill more of its lanes than of rows
// of sixteen. Entries are taken 64 at a time. For each, one vector operation over the sixteen block centres finds the
// blocks that it can reach, as sixteen bits; the bits are transposed, and then each block walks through its own entries
// with its colour and transmittance in registers. A pixel's own arithmetic does not depend on which other pixels are
// computed, so a rectangle equals the crop of the whole picture bit for bit.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "batch.h"
#include "lanes.h"
#include "raster.h"
#include "shapes.h"
#include "tile.h"

namespace h3d {
namespace {

// What is computed beyond colour and depth.
struct Extras {
    float* partial_sum = nullptr;  // per entry of the tile
    float* partial_max = nullptr;
    uint16_t* partial_count = nullptr;
};

// Features, contributions and top ids of one splat over one block.
void add_extras(const Frame& frame, const Extras& extras, Entry entry, int64_t place, Lanes weight, int block,
                TileSums& sums) {
    if (extras.partial_sum != nullptr) {
        extras.partial_sum[place] += sum(weight);
        extras.partial_max[place] = std::max(extras.partial_max[place], largest(weight));
        extras.partial_count[place] += static_cast<uint16_t>(std::popcount(bits(weight > Lanes(0.0f))));
    }
    if (frame.outputs.top_id != nullptr) {
        const Lanes best = Lanes::load(sums.best[block]);
        const Mask better = weight > best;
        select(better, weight, best).store(sums.best[block]);
        for (uint32_t lanes = bits(better); lanes != 0; lanes &= lanes - 1) {
            sums.top[block][std::countr_zero(lanes)] = static_cast<int32_t>(row_of(entry));
        }
    }
    const float* features = sums.features != nullptr ? features_of(frame, row_of(entry)) : nullptr;
    for (int k = 0; k < frame.settings.channels && features != nullptr; k++) {
        float* p = sums.features + (k * kBlocks + block) * kLanes;
        fma(weight, Lanes(features[k]), Lanes::load(p)).store(p);
    }
}

// One block's entries of the batch; false when no pixel of the block is left.
template <class S, bool kDepth, bool kExtras>
bool blend_block(const Frame& frame, const Tile& tile, const Batch& batch, const Extras& extras, int block,
                 TileSums& sums) {
    const Lanes x = pixel_x(tile, block), y = pixel_y(tile, block);
    const bool lit = S::kShaded && !frame.settings.normals;
    Mask alive = Mask::from_bits(sums.alive[block]);
    Lanes transmittance = Lanes::load(sums.transmittance[block]);
    Lanes r = Lanes::load(sums.r[block]), g = Lanes::load(sums.g[block]), b = Lanes::load(sums.b[block]);
    Lanes depth = Lanes::load(sums.depth[block]);
    for (uint64_t todo = batch.of_block[block]; todo != 0; todo &= todo - 1) {
        const int i = std::countr_zero(todo);
        const Splat& s = batch.splats[i];
        const Lanes dy = y - s.y;
        const Lanes u = fma(Lanes(s.a), x - s.x, s.b * dy), v = s.c * dy;
        const S shape(s);
        const Lanes measure = shape.measure(u, v);
        const Mask hit = alive & shape.hit(measure);
        if (!any(hit)) continue;
        Lanes weight = keep(hit, shape.alpha(measure, u, v) * transmittance);
        Lanes after = transmittance - weight;
        const Mask finished = hit & (after <= Lanes(kStop));
        if (any(finished)) [[unlikely]] {
            weight = select(finished, Lanes(0.0f), weight);
            after = select(finished, transmittance, after);
            alive = Mask::from_bits(bits(alive) & ~bits(finished));
        }
        transmittance = after;
        const Lanes tinted = lit ? weight * shape.shade(measure, u, v) : weight;
        r = fma(tinted, Lanes(s.rgb[0]), r);
        g = fma(tinted, Lanes(s.rgb[1]), g);
        b = fma(tinted, Lanes(s.rgb[2]), b);
        const Entry entry = batch.entries[i];
        if (kDepth) depth = fma(weight, Lanes(std::bit_cast<float>(static_cast<uint32_t>(entry >> 32))), depth);
        if (kExtras) add_extras(frame, extras, entry, batch.entries - tile.entries + i, weight, block, sums);
        if (any(finished) && !any(alive)) break;
    }
    transmittance.store(sums.transmittance[block]);
    r.store(sums.r[block]), g.store(sums.g[block]), b.store(sums.b[block]);
    if (kDepth) depth.store(sums.depth[block]);
    sums.alive[block] = static_cast<uint16_t>(bits(alive));
    return any(alive);
}

template <class S, bool kDepth, bool kExtras>
void blend_tile(const Frame& frame, const Splat* splats, const Tile& tile, const Extras& extras, TileSums& sums) {
    uint32_t live = 0;
    for (int block = 0; block < kBlocks; block++) live |= static_cast<uint32_t>(sums.alive[block] != 0) << block;
    Batch batch;
    for (int64_t begin = 0; begin < tile.count && live != 0; begin += kBatch) {
        load_batch<S>(splats, tile, begin, batch);
        for (uint32_t todo = live; todo != 0; todo &= todo - 1) {
            const int block = std::countr_zero(todo);
            if (batch.of_block[block] == 0) continue;
            if (!blend_block<S, kDepth, kExtras>(frame, tile, batch, extras, block, sums)) live &= ~(1u << block);
        }
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

// Partial sums to their rows, tile by tile: the same order, hence the same bits, at any number of threads.
void add_contributions(const Frame& frame, const RasterState& state, int64_t entries) {
    float* total = frame.outputs.contribution_sum;
    float* most = frame.outputs.contribution_max;
    int64_t* pixels = frame.outputs.contribution_count;
    for (int64_t i = 0; i < entries; i++) {
        const uint32_t row = row_of(state.entries[i]);
        total[row] += state.partial_sum[i];
        most[row] = std::max(most[row], state.partial_max[i]);
        pixels[row] += state.partial_count[i];
    }
}

}  // namespace

bool blend(const Frame& frame, RasterState& state, Pool& pool, Band band) {
    const Outputs& out = frame.outputs;
    const int64_t* starts = state.tile_starts.data();
    const int64_t origin = starts[band.begin], entries = starts[band.end] - origin;
    const bool contributions = out.contribution_sum != nullptr;
    // What is not wanted is asked for with size 0, so that a buffer of an earlier frame can shrink.
    const int64_t partials = contributions ? entries : 0;
    std::fill_n(state.partial_sum.ensure(partials), partials, 0.0f);
    std::fill_n(state.partial_max.ensure(partials), partials, 0.0f);
    std::fill_n(state.partial_count.ensure(partials), partials, uint16_t{0});
    state.blend_space.resize(pool.threads());
    const int64_t planes = out.features != nullptr ? frame.settings.channels : 0;
    for (Buffer<float>& space : state.blend_space) space.ensure(planes * kBlocks * kLanes);
    const BlendTile kernel = kernel_for(frame, contributions || out.features != nullptr || out.top_id != nullptr);
    const bool done = pool.run(band.end - band.begin, frame.cancel, [&](int worker, int64_t item) {
        const Tile tile = tile_at(frame, state, band, band.begin + item);
        if (tile.count == 0) return write_empty_tile(frame, tile);
        Extras extras;
        if (contributions) {
            extras.partial_sum = state.partial_sum.data() + (starts[tile.number] - origin);
            extras.partial_max = state.partial_max.data() + (starts[tile.number] - origin);
            extras.partial_count = state.partial_count.data() + (starts[tile.number] - origin);
        }
        TileSums sums;
        begin_tile(frame, tile, out.features != nullptr ? state.blend_space[worker].data() : nullptr, sums);
        kernel(frame, state.splats.data(), tile, extras, sums);
        write_tile(frame, tile, sums);
    });
    if (done && contributions) add_contributions(frame, state, entries);
    return done;
}

}  // namespace h3d
