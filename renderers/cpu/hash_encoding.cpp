// See hash_encoding.h, and hash_corners.h for how sixteen points find their rows.
#include "hash_encoding.h"

#include <algorithm>
#include <cstring>

#include "hash_corners.h"

namespace h3d {
namespace {

constexpr int kBlock = 512;  // points whose outputs stay in the cache while the levels pass over them
constexpr int64_t kChunk = 1 << 16;
constexpr size_t kRun = 1 << 20;   // bytes of levels that lie in the cache of a core together

template <int D>
using Block = PointBlock<D, kBlock>;

template <int D, int F, class T>
void encode_level(const GridLevel& level, const Block<D>& block, const T* table, float* out, int width) {
    const T* rows = table + F * level.offset;
    for_corners(level, block, rows, sizeof(T) * F, [&](int group, const Corners<D>& corners) {
        const int count = std::min(kLanes, block.count - kLanes * group);
        float* to = out + static_cast<int64_t>(kLanes) * group * width;
        for (int i = 0; i < count; i += Rows<F>::kCount) {
            auto sum = Rows<F>::zero();
            for (int k = 0; k < corners.kCount; k++) {
                sum = sum.plus(&corners.weights[k][i], Rows<F>::load(rows, &corners.entries[k][i]));
            }
            sum.store(to + static_cast<int64_t>(i) * width, width, count - i);
        }
    });
}

template <int F>
void zero_level(int count, float* out, int width) {
    for (int i = 0; i < count; i++) Features<F>::zero().store(out + static_cast<int64_t>(i) * width);
}

// Levels [first, last) that are encoded together, block by block.
struct LevelRun {
    size_t first, last;
};

// Small levels share the cache and are done together; a large one is done alone for many points, since each of its
// lines serves several of them while it is there.
std::vector<LevelRun> plan_runs(const HashGrid& grid, size_t row) {
    std::vector<LevelRun> runs;
    size_t held = 0;  // bytes of the last run; none where nothing may join it
    for (size_t l = 0; l < grid.levels.size(); l++) {
        const size_t bytes = row * grid.levels[l].size;
        const bool near = bytes <= kNear;
        if (near && held > 0 && held + bytes <= kRun) {
            runs.back().last = l + 1;
            held += bytes;
        } else {
            runs.push_back({l, l + 1});
            held = near ? bytes : 0;
        }
    }
    return runs;
}

template <int D, int F, class T>
bool encode(const HashGrid& grid, Points points, const T* table, float* out, Pool& pool, const Cancel& cancel) {
    const int width = grid.width();
    const std::vector<LevelRun> runs = plan_runs(grid, sizeof(T) * F);
    // All runs over one chunk, whose outputs stay in the cache that the cores share; then the next chunk.
    for (int64_t chunk = 0; chunk < points.count; chunk += kChunk) {
        const int64_t blocks = (std::min(kChunk, points.count - chunk) + kBlock - 1) / kBlock;
        const bool done = pool.run(blocks * static_cast<int64_t>(runs.size()), cancel, [&](int, int64_t item) {
            const LevelRun run = runs[item / blocks];
            const int64_t first = chunk + item % blocks * kBlock;
            const Block<D> block(points, first);
            for (size_t l = run.first; l < run.last; l++) {
                float* to = out + first * width + F * l;
                if (grid.levels[l].on) {
                    encode_level<D, F>(grid.levels[l], block, table, to, width);
                } else {
                    zero_level<F>(block.count, to, width);
                }
            }
        });
        if (!done) return false;
    }
    return true;
}

template <int D, int F>
void scatter_level(const GridLevel& level, Points points, const float* grad_out, int width, float* grad_rows) {
    for (int64_t first = 0; first < points.count; first += kBlock) {
        const Block<D> block(points, first);
        for_corners(level, block, grad_rows, sizeof(float) * F, [&](int group, const Corners<D>& corners) {
            const int count = std::min(kLanes, block.count - kLanes * group);
            const float* from = grad_out + (first + kLanes * group) * width;
            for (int i = 0; i < count; i++) {
                const auto grad = Features<F>::load(from + static_cast<int64_t>(i) * width);
                for (int k = 0; k < corners.kCount; k++) {
                    float* row = grad_rows + F * static_cast<size_t>(corners.entries[k][i]);
                    Features<F>::load(row).plus(corners.weights[k][i], grad).store(row);
                }
            }
        });
    }
}

template <int D, int F>
bool table_gradient(const HashGrid& grid, Points points, const float* grad_out, float* grad_table, Pool& pool,
                    const Cancel& cancel) {
    // A level a worker: its sums run through the points in order, whoever does them. The finest, slowest ones first.
    const auto levels = static_cast<int64_t>(grid.levels.size());
    return pool.run(levels, cancel, [&](int, int64_t item) {
        const int64_t l = levels - 1 - item;
        const GridLevel& level = grid.levels[l];
        float* rows = grad_table + F * level.offset;
        std::memset(rows, 0, sizeof(float) * F * level.size);
        if (level.on) scatter_level<D, F>(level, points, grad_out + F * l, grid.width(), rows);
    });
}

template <int D, int F, class T>
bool position_gradient(const HashGrid& grid, Points points, const T* table, const float* grad_out,
                       float* grad_positions, Pool& pool, const Cancel& cancel) {
    const int width = grid.width();
    return pool.run((points.count + kBlock - 1) / kBlock, cancel, [&](int, int64_t item) {
        const int64_t first = item * kBlock;
        const Block<D> block(points, first);
        alignas(64) float slopes[D][kBlock] = {};
        for (size_t l = 0; l < grid.levels.size(); l++) {
            if (!grid.levels[l].on) continue;
            slope_level<F>(grid.levels[l], block, table, grad_out + first * width + F * l, width, slopes);
        }
        for (int i = 0; i < block.count; i++) {
            for (int d = 0; d < D; d++) {
                // Beyond the border the encoding is constant.
                const float p = points.positions[D * (first + i) + d];
                grad_positions[D * (first + i) + d] = p >= 0.0f && p <= 1.0f ? slopes[d][i] : 0.0f;
            }
        }
    });
}

// Calls f with the grid's dimensions and features as compile-time numbers.
template <class Call>
bool with_sizes(const HashGrid& grid, Call&& call) {
    const auto with_features = [&](auto dims) {
        switch (grid.features) {
            case 1: return call(dims, std::integral_constant<int, 1>());
            case 2: return call(dims, std::integral_constant<int, 2>());
            case 4: return call(dims, std::integral_constant<int, 4>());
            default: return call(dims, std::integral_constant<int, 8>());
        }
    };
    return grid.dims == 2 ? with_features(std::integral_constant<int, 2>())
                          : with_features(std::integral_constant<int, 3>());
}

}  // namespace

bool hash_encode(const HashGrid& grid, Points points, Table table, float* out, Pool& pool, const Cancel& cancel) {
    return with_sizes(grid, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value, F = decltype(f)::value;
        return table.halves != nullptr ? encode<D, F>(grid, points, table.halves, out, pool, cancel)
                                       : encode<D, F>(grid, points, table.floats, out, pool, cancel);
    });
}

bool hash_table_gradient(const HashGrid& grid, Points points, const float* grad_out, float* grad_table, Pool& pool,
                         const Cancel& cancel) {
    return with_sizes(grid, [&](auto d, auto f) {
        return table_gradient<decltype(d)::value, decltype(f)::value>(grid, points, grad_out, grad_table, pool,
                                                                      cancel);
    });
}

bool hash_position_gradient(const HashGrid& grid, Points points, Table table, const float* grad_out,
                            float* grad_positions, Pool& pool, const Cancel& cancel) {
    return with_sizes(grid, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value, F = decltype(f)::value;
        return table.halves != nullptr
                   ? position_gradient<D, F>(grid, points, table.halves, grad_out, grad_positions, pool, cancel)
                   : position_gradient<D, F>(grid, points, table.floats, grad_out, grad_positions, pool, cancel);
    });
}

}  // namespace h3d
