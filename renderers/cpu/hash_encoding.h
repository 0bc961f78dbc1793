// Multiresolution hash encoding: P points in the unit square or cube, L levels of F features, corners interpolated.
//
// Source: Mueller et al. 2022, with the indexing of tiny-cuda-nn: at a level of scale s the point x lies at s x + origin
// (0.5 there), corners of a dense level are numbered row by row, those of the others are hashed, and numbers beyond the
// end wrap.
#pragma once

#include <cstdint>
#include <vector>

#include "pool.h"

namespace h3d {

struct Half {
    uint16_t bits;
};

struct GridLevel {
    float scale = 0.0f;
    uint32_t resolution = 0;  // corners a side
    uint32_t size = 0;        // entries; a power of two where it is hashed
    int64_t offset = 0;       // entry at which the level begins
    bool dense = false;
    bool on = true;           // a level that is off gives zeros and gets no gradient
    float origin = 0.5f;      // where the point 0 lies, in cells
};

struct HashGrid {
    int dims = 3, features = 2;
    std::vector<GridLevel> levels;
    int width() const { return features * static_cast<int>(levels.size()); }
};

struct Points {
    const float* positions = nullptr;  // [P, D]; what lies outside [0, 1] is moved to the border, NaN to 0
    int64_t count = 0;
};

// Each returns false when it was cancelled. `table` holds rows of F, `out` and `grad_out` are [P, L F]; of `table`
// and `half_table` one is given.
struct Table {
    const float* floats = nullptr;
    const Half* halves = nullptr;
};
bool hash_encode(const HashGrid& grid, Points points, Table table, float* out, Pool& pool, const Cancel& cancel);
// The gradient of the table, all of it written; the same bits at every number of threads.
bool hash_table_gradient(const HashGrid& grid, Points points, const float* grad_out, float* grad_table, Pool& pool,
                         const Cancel& cancel);
bool hash_position_gradient(const HashGrid& grid, Points points, Table table, const float* grad_out,
                            float* grad_positions, Pool& pool, const Cancel& cancel);

}  // namespace h3d
