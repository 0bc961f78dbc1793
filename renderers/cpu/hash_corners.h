// Sixteen points in one level of a hash grid: where their corners' rows are, and the weights of these.
//
// Where points lie and which entries their corners are is worked out in Lanes and Words, then entry by entry, a row of F
// features in one register. That beats gather instructions where they are slow and matches them where they are not, and
// it needs none.
#pragma once

#include <algorithm>
#include <cstdint>

#include "hash_encoding.h"
#include "prefetch.h"
#include "table_rows.h"
#include "words.h"

namespace h3d {

constexpr size_t kNear = 1 << 18;  // bytes of a level that lies in the cache of a core, needing no prefetch
constexpr uint32_t kPrimes[3] = {1u, 2654435761u, 805459861u};

// Coordinates of N points at most, one array a dimension, clamped to [0, 1]; the last sixteen are filled up with zeros.
template <int D, int N>
struct PointBlock {
    static constexpr int kDims = D, kSize = N;
    alignas(64) float x[D][N];
    int count = 0, groups = 0;

    PointBlock() = default;
    PointBlock(const Points& points, int64_t first) {
        const float* from = points.positions + D * first;
        const int n = static_cast<int>(std::min<int64_t>(N, points.count - first));
        for (int i = 0; i < n; i++) put(i, from + static_cast<int64_t>(D) * i);
        close(n);
    }
    void put(int i, const float* position) {
        for (int d = 0; d < D; d++) {
            const float p = position[d];
            x[d][i] = p > 0.0f ? (p < 1.0f ? p : 1.0f) : 0.0f;
        }
    }
    void close(int points) {
        count = points;
        groups = (count + kLanes - 1) / kLanes;
        for (int d = 0; d < D; d++) std::fill(x[d] + count, x[d] + groups * kLanes, 0.0f);
    }
};

// Sixteen points in their cells of one level.
template <int D>
struct Cells {
    static constexpr int kCorners = 1 << D;
    Lanes fraction[D];

    // Entries of all corners; bit d of a corner's number moves it along dimension d.
    template <int N>
    Cells(const GridLevel& level, const PointBlock<D, N>& block, int group, uint32_t entries[][kLanes]) {
        Words axis[D][2];
        uint32_t stride = 1;
        for (int d = 0; d < D; d++) {
            const Lanes p = fma(Lanes::load(block.x[d] + kLanes * group), Lanes(level.scale), Lanes(level.origin));
            const Words corner = whole(p);
            fraction[d] = p - to_lanes(corner);
            const Words step(level.dense ? stride : kPrimes[d]);
            axis[d][0] = d == 0 ? corner : corner * step;
            axis[d][1] = axis[d][0] + step;
            stride *= level.resolution;
        }
        const Words mask(level.size - 1), size(level.size);
        for (int k = 0; k < kCorners; k++) {
            Words e = axis[0][k & 1];
            if (level.dense) {
                for (int d = 1; d < D; d++) e = e + axis[d][k >> d & 1];
                e = min(e, e - size);  // Beyond the end by less than one size: the difference did not wrap.
            } else {
                for (int d = 1; d < D; d++) e = e ^ axis[d][k >> d & 1];
                e = e & mask;
            }
            e.store(entries[k]);
        }
    }

    // Weight of corner k without the factor of dimension `without`.
    Lanes weight(int k, int without = -1) const {
        Lanes w(1.0f);
        for (int d = 0; d < D; d++) {
            if (d != without) w = w * ((k >> d & 1) != 0 ? fraction[d] : 1.0f - fraction[d]);
        }
        return w;
    }
};

// The corners of sixteen points: where their rows are, and their weights.
template <int D>
struct Corners {
    static constexpr int kCount = 1 << D;
    alignas(64) uint32_t entries[kCount][kLanes];
    alignas(64) float weights[kCount][kLanes];

    template <int N>
    void find(const GridLevel& level, const PointBlock<D, N>& block, int group) {
        const Cells<D> cells(level, block, group, entries);
        for (int k = 0; k < kCount; k++) cells.weight(k).store(weights[k]);
    }
    // Asks for the rows, of `row` bytes each, that will be read one group later.
    void prefetch_rows(const void* rows, size_t row) const {
        const auto* base = static_cast<const char*>(rows);
        for (int i = 0; i < kLanes; i++) {
            for (int k = 0; k < kCount; k++) prefetch(base + row * entries[k][i]);
        }
    }
};

// Calls use(group, corners) for every group of the block, the rows of the next one being fetched meanwhile.
template <int D, int N, class Use>
void for_corners(const GridLevel& level, const PointBlock<D, N>& block, const void* rows, size_t row, Use&& use) {
    const bool far = row * level.size > kNear;
    Corners<D> corners[2];
    corners[0].find(level, block, 0);
    if (far) corners[0].prefetch_rows(rows, row);
    for (int group = 0; group < block.groups; group++) {
        if (group + 1 < block.groups) {
            Corners<D>& next = corners[(group + 1) % 2];
            next.find(level, block, group + 1);
            if (far) next.prefetch_rows(rows, row);
        }
        use(group, corners[group % 2]);
    }
}

// Adds the level's share to the block's gradients, [D][N]; `grad_out` are the level's F of the points' `width`.
template <int F, class T, int D, int N>
void slope_level(const GridLevel& level, const PointBlock<D, N>& block, const T* table, const float* grad_out, int width,
                 float (*slopes)[N]) {
    constexpr int corners = 1 << D;
    alignas(64) uint32_t entries[corners][kLanes];
    alignas(64) float dots[corners][kLanes] = {};
    const T* rows = table + F * level.offset;
    for (int group = 0; group < block.groups; group++) {
        const Cells<D> cells(level, block, group, entries);
        const int count = std::min(kLanes, block.count - kLanes * group);
        const float* from = grad_out + static_cast<int64_t>(kLanes) * group * width;
        for (int i = 0; i < count; i++) {
            const auto grad = Features<F>::load(from + static_cast<int64_t>(i) * width);
            for (int k = 0; k < corners; k++) {
                dots[k][i] = Features<F>::load(rows + F * static_cast<size_t>(entries[k][i])).dot(grad);
            }
        }
        for (int d = 0; d < D; d++) {
            Lanes sum(0.0f);
            for (int k = 0; k < corners; k++) {
                const Lanes term = cells.weight(k, d) * Lanes::load(dots[k]);
                sum = (k >> d & 1) != 0 ? sum + term : sum - term;
            }
            float* to = slopes[d] + kLanes * group;
            fma(sum, Lanes(level.scale), Lanes::load(to)).store(to);
        }
    }
}

}  // namespace h3d
