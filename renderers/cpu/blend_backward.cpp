// Gradients of stage 4: each tile's splats from front to back, sums per entry, then per row.
#include <algorithm>
#include <bit>
#include <cstring>

#include "batch.h"
#include "gradients.h"
#include "shapes.h"

namespace h3d {
namespace {

// Of every pixel: its transmittance, the gradients of its values, and `rest`: gradient times what is still to come.
// alpha = sum of w and depth = (sum of w z) / alpha, so the loss moves by `alpha` a weight, and by `depth` a w z.
struct alignas(64) TileGradients {
    Plane transmittance, rest, r, g, b, alpha, depth;
    uint16_t alive[kBlocks];
    float* features;  // [D, 16, 16]
};

struct Walk {
    const Frame& frame;
    const Tile& tile;
    float* sums;  // of the tile's entries
    int64_t stride;
    int channels;  // 0 where features have no gradient
};

void load_pixel(const PictureGradients& picture, int64_t pixel, int block, int lane, TileGradients& tile) {
    float rest = 0.0f, d_alpha = 0.0f;
    if (picture.d_rgb != nullptr) {
        const float *d = picture.d_rgb + 3 * pixel, *value = picture.rgb + 3 * pixel;
        tile.r[block][lane] = d[0], tile.g[block][lane] = d[1], tile.b[block][lane] = d[2];
        rest = d[0] * value[0] + d[1] * value[1] + d[2] * value[2];
    }
    if (picture.d_alpha != nullptr) {
        d_alpha = picture.d_alpha[pixel];
        rest += d_alpha * picture.alpha[pixel];
    }
    if (picture.d_depth != nullptr && picture.alpha[pixel] > 0.0f) {
        const float per_weight = picture.d_depth[pixel] / picture.alpha[pixel];
        tile.depth[block][lane] = per_weight;
        d_alpha -= per_weight * picture.depth[pixel];  // In `rest` the two cancel.
    }
    tile.alpha[block][lane] = d_alpha;
    tile.rest[block][lane] = rest;
}

void load_tile(const Walk& walk, const PictureGradients& picture, float* features, TileGradients& out) {
    const Tile& tile = walk.tile;
    std::memset(&out.rest, 0, sizeof(Plane) * 6);
    std::fill(&out.transmittance[0][0], &out.transmittance[0][0] + kBlocks * kLanes, 1.0f);
    mark_wanted(tile, out.alive);
    out.features = features;
    std::fill_n(features, static_cast<int64_t>(walk.channels) * kBlocks * kLanes, 0.0f);
    for (int y = tile.y0; y < tile.y1; y++) {
        for (int x = tile.x0; x < tile.x1; x++) {
            const int64_t pixel = pixel_at(walk.frame, tile, x, y);
            const int block = block_of(x, y), lane = lane_of(x, y);
            load_pixel(picture, pixel, block, lane, out);
            for (int k = 0; k < walk.channels; k++) {
                const float d = picture.d_features[pixel * walk.channels + k];
                features[(k * kBlocks + block) * kLanes + lane] = d;
                out.rest[block][lane] += d * picture.features[pixel * walk.channels + k];
            }
        }
    }
}

// What a unit of weight adds to the loss through the features.
Lanes feature_worth(const Walk& walk, const float* row, int block, const TileGradients& tile) {
    Lanes worth(0.0f);
    for (int k = 0; k < walk.channels; k++) {
        worth = fma(Lanes(row[k]), Lanes::load(tile.features + (k * kBlocks + block) * kLanes), worth);
    }
    return worth;
}

void add_feature_sums(const Walk& walk, Lanes weight, int block, const TileGradients& tile, float* sums) {
    for (int first = 0; first < walk.channels; first += kLanes) {
        Lanes products[kLanes];
        for (int k = 0; k < kLanes; k++) {
            const float* plane = tile.features + ((first + k) * kBlocks + block) * kLanes;
            products[k] = first + k < walk.channels ? weight * Lanes::load(plane) : Lanes(0.0f);
        }
        float* out = sums + kLanes + first;
        (Lanes::load(out) + sums_of(products)).store(out);
    }
}

// One block's entries of the batch, decided to the bit as in blend.cpp; false when no pixel of the block is left.
template <bool kFeatures>
bool walk_block(const Walk& walk, const Batch& batch, int block, TileGradients& tile) {
    const Lanes x = pixel_x(walk.tile, block), y = pixel_y(walk.tile, block);
    const Lanes d_r = Lanes::load(tile.r[block]), d_g = Lanes::load(tile.g[block]), d_b = Lanes::load(tile.b[block]);
    const Lanes d_alpha = Lanes::load(tile.alpha[block]), d_depth = Lanes::load(tile.depth[block]);
    Lanes transmittance = Lanes::load(tile.transmittance[block]), rest = Lanes::load(tile.rest[block]);
    Mask alive = Mask::from_bits(tile.alive[block]);
    float* batch_sums = walk.sums + (batch.entries - walk.tile.entries) * walk.stride;
    for (uint64_t todo = batch.of_block[block]; todo != 0; todo &= todo - 1) {
        const int i = std::countr_zero(todo);
        const Splat& s = batch.splats[i];
        const Lanes dy = y - s.y;
        const Lanes u = fma(Lanes(s.a), x - s.x, s.b * dy), v = s.c * dy;
        const SplatShape shape(s);
        const Lanes power = shape.measure(u, v);
        Mask hit = alive & shape.hit(power);
        if (!any(hit)) continue;
        const Lanes full = exp2(power), alpha = min(full, Lanes(kMaxAlpha));
        Lanes weight = keep(hit, alpha * transmittance);
        Lanes after = transmittance - weight;
        const Mask finished = hit & (after <= Lanes(kStop));
        if (any(finished)) [[unlikely]] {
            weight = select(finished, Lanes(0.0f), weight);
            after = select(finished, transmittance, after);
            alive = Mask::from_bits(bits(alive) & ~bits(finished));
            hit = hit & alive;
            if (!any(alive)) break;
        }
        const Entry entry = batch.entries[i];
        const Lanes depth(std::bit_cast<float>(static_cast<uint32_t>(entry >> 32)));
        Lanes worth = fma(d_r, Lanes(s.rgb[0]), fma(d_g, Lanes(s.rgb[1]), fma(d_b, Lanes(s.rgb[2]), d_alpha)));
        worth = fma(d_depth, depth, worth);
        const float* row = kFeatures ? features_of(walk.frame, row_of(entry)) : nullptr;
        if (kFeatures) worth = worth + feature_worth(walk, row, block, tile);
        rest = fnma(weight, worth, rest);
        const Lanes slope = keep(hit & (full <= Lanes(kMaxAlpha)), transmittance * worth - rest / (1.0f - alpha));
        const Lanes g = alpha * slope;
        transmittance = after;
        const Lanes gu = g * u, gv = g * v, zero(0.0f);
        const Lanes terms[kLanes] = {g, gu, gv, gu * u, gu * v, gv * v, weight * d_r, weight * d_g, weight * d_b,
                                     abs(gu), abs(fma(Lanes(s.b), gu, s.c * gv)), weight * d_depth,
                                     slope * slope, zero, zero, zero};
        float* sums = batch_sums + i * walk.stride;
        (Lanes::load(sums) + sums_of(terms)).store(sums);
        if (kFeatures) add_feature_sums(walk, weight, block, tile, sums);
    }
    transmittance.store(tile.transmittance[block]);
    rest.store(tile.rest[block]);
    tile.alive[block] = static_cast<uint16_t>(bits(alive));
    return any(alive);
}

template <bool kFeatures>
void walk_tile(const Walk& walk, const Splat* splats, TileGradients& tile) {
    uint32_t live = 0;
    for (int block = 0; block < kBlocks; block++) live |= static_cast<uint32_t>(tile.alive[block] != 0) << block;
    Batch batch;
    for (int64_t begin = 0; begin < walk.tile.count && live != 0; begin += kBatch) {
        load_batch<SplatShape>(splats, walk.tile, begin, batch);
        for (uint32_t todo = live; todo != 0; todo &= todo - 1) {
            const int block = std::countr_zero(todo);
            if (batch.of_block[block] == 0) continue;
            if (!walk_block<kFeatures>(walk, batch, block, tile)) live &= ~(1u << block);
        }
    }
}

// Entries to rows in the order of the tiles. Every worker looks at all entries and adds those of its own rows.
bool gather(const Frame& frame, RasterState& state, Pool& pool, int64_t entries, int64_t stride) {
    const int64_t rows = frame.rows(), parts = pool.threads();
    return pool.run(parts, frame.cancel, [&](int, int64_t part) {
        const uint32_t first = static_cast<uint32_t>(rows * part / parts);
        const uint32_t count = static_cast<uint32_t>(rows * (part + 1) / parts) - first;
        for (int64_t i = 0; i < entries; i++) {
            const uint32_t row = row_of(state.entries[i]);
            if (row - first >= count) continue;
            const float* from = state.entry_gradients.data() + i * stride;
            float* to = state.row_gradients.data() + row * stride;
            for (int64_t k = 0; k < stride; k += kLanes) (Lanes::load(to + k) + Lanes::load(from + k)).store(to + k);
        }
    });
}

}  // namespace

bool blend_backward(const Frame& frame, const PictureGradients& picture, RasterState& state, Pool& pool, Band band) {
    const int64_t* starts = state.tile_starts.data();
    const int64_t origin = starts[band.begin], entries = starts[band.end] - origin;
    const int channels = picture.d_features != nullptr ? frame.settings.channels : 0;
    const int64_t stride = sums_stride(channels);
    state.entry_gradients.ensure(static_cast<size_t>(entries * stride));
    state.blend_space.resize(pool.threads());
    for (Buffer<float>& space : state.blend_space) space.ensure(static_cast<size_t>(channels) * kBlocks * kLanes);
    const bool done = pool.run(band.end - band.begin, frame.cancel, [&](int worker, int64_t item) {
        const Tile tile = tile_at(frame, state, band, band.begin + item);
        if (tile.count == 0) return;
        float* sums = state.entry_gradients.data() + (starts[tile.number] - origin) * stride;
        std::fill_n(sums, tile.count * stride, 0.0f);
        const Walk walk{frame, tile, sums, stride, channels};
        TileGradients gradients;
        load_tile(walk, picture, state.blend_space[worker].data(), gradients);
        (channels > 0 ? walk_tile<true> : walk_tile<false>)(walk, state.splats.data(), gradients);
    });
    return done && gather(frame, state, pool, entries, stride);
}

}  // namespace h3d
