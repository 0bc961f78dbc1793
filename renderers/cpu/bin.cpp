// Stage 2: lists of entries per tile, in the order of the rows, whatever the number of threads.
//
// The projection counted tiles per chunk of rows; running sums over tiles, then chunks, give each chunk its own places
// to write. Splats that fill the screen can make more entries than memory holds: then the picture is made in bands of
// tiles whose entries fit a budget.
#include <algorithm>
#include <bit>

#include "ellipse.h"
#include "raster.h"

namespace h3d {
namespace {

// Calls visit(tile) for every tile of the grid that the splat touches.
template <class Visit>
inline void for_each_tile(const Cover& cover, const Splat* splat, Shape shape, const TileGrid& grid, Visit&& visit) {
    if (cover.width == kLarge) {
        for_each_row(*splat, reach_of(*splat, shape), grid, [&](int row, int begin, int end) {
            const int64_t base = static_cast<int64_t>(row) * grid.columns;
            for (int column = begin; column < end; column++) visit(base + column);
        });
        return;
    }
    for (uint32_t mask = cover.mask; mask != 0; mask &= mask - 1) {
        const int bit = std::countr_zero(mask);
        visit(static_cast<int64_t>(cover.y + bit / 4) * grid.columns + cover.x + bit % 4);
    }
}

}  // namespace

std::vector<Band> plan_bands(const Frame& frame, RasterState& state, Stats& stats) {
    const int64_t tiles = state.grid.size(), chunks = static_cast<int64_t>(state.chunk_starts.size()) - 1;
    int64_t* starts = state.tile_starts.ensure(static_cast<size_t>(tiles) + 1);
    std::fill(starts, starts + tiles + 1, 0);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const uint32_t* counts = state.counts.data() + chunk * tiles;
        for (int64_t tile = 0; tile < tiles; tile++) starts[tile + 1] += counts[tile];
    }
    std::vector<Band> bands;
    Band band;
    for (int64_t tile = 0; tile < tiles; tile++) {
        starts[tile + 1] += starts[tile];
        if (tile > band.begin && starts[tile + 1] - starts[band.begin] > frame.settings.band_entries) {
            band.end = tile;
            bands.push_back(band);
            band.begin = tile;
        }
    }
    band.end = tiles;
    bands.push_back(band);
    stats.intersections = starts[tiles];
    return bands;
}

bool bin(const Frame& frame, RasterState& state, Pool& pool, Band band) {
    const int64_t tiles = state.grid.size(), chunks = static_cast<int64_t>(state.chunk_starts.size()) - 1;
    const int64_t* starts = state.tile_starts.data();
    const int64_t origin = starts[band.begin];
    Entry* entries = state.entries.ensure(static_cast<size_t>(starts[band.end] - origin));
    for (int64_t tile = band.begin; tile < band.end; tile++) {
        // A band fits the budget unless it is one tile; then it holds each row once at most, and rows fit 32 bits.
        uint32_t place = static_cast<uint32_t>(starts[tile] - origin);
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            uint32_t& count = state.counts[chunk * tiles + tile];
            const uint32_t here = count;
            count = place;
            place += here;
        }
    }
    const Shape shape = frame.settings.shape;
    const uint32_t* depth_bits = reinterpret_cast<const uint32_t*>(state.depths.data());
    const bool whole = band.begin == 0 && band.end == tiles;
    return pool.run(chunks, frame.cancel, [&](int, int64_t chunk) {
        uint32_t* places = state.counts.data() + chunk * tiles;
        for (int64_t row = state.chunk_starts[chunk]; row < state.chunk_starts[chunk + 1]; row++) {
            const Cover& cover = state.covers[row];
            if (cover.width == 0) continue;
            const Entry entry = static_cast<Entry>(depth_bits[row]) << 32 | static_cast<Entry>(row);
            for_each_tile(cover, &state.splats[row], shape, state.grid, [&](int64_t tile) {
                if (whole || (tile >= band.begin && tile < band.end)) entries[places[tile]++] = entry;
            });
        }
    });
}

}  // namespace h3d
