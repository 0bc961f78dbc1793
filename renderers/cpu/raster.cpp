// The four stages in a row, and how the work is cut.
#include "raster.h"

#include <algorithm>
#include <chrono>

namespace h3d {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point& start) {
    const Clock::time_point now = Clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - start).count();
    start = now;
    return ms;
}

TileGrid grid_of(const Settings& set) {
    const int x0 = set.x0 / kTile, y0 = set.y0 / kTile;
    return {x0, y0, (set.x1 + kTile - 1) / kTile - x0, (set.y1 + kTile - 1) / kTile - y0};
}

// Chunks of rows, a few per thread; each keeps a count per tile, which bounds their number for huge pictures.
void cut_rows(const Frame& frame, RasterState& state, int threads) {
    constexpr int64_t kCounts = int64_t{1} << 24, kRows = 4096, kPerThread = 8;
    const int64_t rows = frame.rows();
    int64_t chunks = std::min(threads * kPerThread, kCounts / std::max<int64_t>(state.grid.size(), 1));
    chunks = std::max<int64_t>(std::min(chunks, (rows + kRows - 1) / kRows), 1);
    state.chunk_starts.resize(static_cast<size_t>(chunks) + 1);
    for (int64_t i = 0; i <= chunks; i++) state.chunk_starts[i] = rows * i / chunks;
}

}  // namespace

size_t RasterState::bytes() const {
    size_t total = splats.bytes() + depths.bytes() + covers.bytes() + counts.bytes() + tile_starts.bytes() +
                   entries.bytes() + partial_sum.bytes() + partial_max.bytes() + partial_count.bytes();
    for (const Buffer<Entry>& space : sort_space) total += space.bytes();
    for (const Buffer<float>& space : blend_space) total += space.bytes();
    total += entry_gradients.bytes() + row_gradients.bytes() + camera_parts.bytes();
    return total;
}

bool begin(const Frame& frame, RasterState& state, Pool& pool, Stats& stats) {
    const size_t rows = static_cast<size_t>(frame.rows());
    state.grid = grid_of(frame.settings);
    cut_rows(frame, state, pool.threads());
    state.splats.ensure(rows);
    state.depths.ensure(rows);
    state.covers.ensure(rows);
    state.counts.ensure((state.chunk_starts.size() - 1) * static_cast<size_t>(state.grid.size()));
    if (!project(frame, state, pool, stats)) return false;
    state.bands = plan_bands(frame, state, stats);
    return true;
}

bool rasterize(const Frame& frame, RasterState& state, Pool& pool, Stats& stats) {
    Clock::time_point clock = Clock::now();
    if (!begin(frame, state, pool, stats)) return false;
    stats.project_ms = ms_since(clock);
    for (const Band band : state.bands) {
        if (!bin(frame, state, pool, band)) return false;
        stats.bin_ms += ms_since(clock);
        if (!sort(frame, state, pool, band)) return false;
        stats.sort_ms += ms_since(clock);
        if (!blend(frame, state, pool, band)) return false;
        stats.raster_ms += ms_since(clock);
    }
    stats.scratch_bytes = static_cast<int64_t>(state.bytes());
    return true;
}

}  // namespace h3d
