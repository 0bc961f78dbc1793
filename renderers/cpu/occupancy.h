// The occupancy grid: cascades of 128^3 bits in Morton order, and what can be skipped in it.
//
// Cascade c covers the cube of side 2^c about (0.5, 0.5, 0.5); its cells have side 2^c / 128. In Morton order every
// aligned block of 2^e cells a side is one run of 8^e bits: a byte holds 2^3 cells, eight bytes hold 4^3.
// Source: Müller et al. 2022, appendix E.1; Morton 1966.
#pragma once

#include <cstdint>
#include <vector>

#include "pool.h"

namespace h3d {

constexpr int kGridSide = 128;
constexpr int64_t kGridCells = static_cast<int64_t>(kGridSide) * kGridSide * kGridSide;
constexpr int64_t kGridBytes = kGridCells / 8;
constexpr int64_t kGridWords = kGridCells / 64;

// The low seven bits of x, two zeros between neighbours.
inline uint32_t spread_bits(uint32_t x) {
    x = (x | x << 8) & 0x0000700fu;
    x = (x | x << 4) & 0x000430c3u;
    x = (x | x << 2) & 0x00049249u;
    return x;
}

inline uint32_t gather_bits(uint32_t x) {
    x &= 0x00049249u;
    x = (x | x >> 2) & 0x000430c3u;
    x = (x | x >> 4) & 0x0000700fu;
    x = (x | x >> 8) & 0x0000007fu;
    return x;
}

inline uint32_t morton(uint32_t x, uint32_t y, uint32_t z) {
    return spread_bits(x) | spread_bits(y) << 1 | spread_bits(z) << 2;
}

// The grid with, for every word of 4^3 cells, the largest empty block around it.
class Occupancy {
public:
    Occupancy(const uint8_t* bits, int cascades);

    int cascades() const { return cascades_; }
    // -1 where the cell holds something; else e: the aligned block of 2^e cells a side around it is empty.
    int empty_level(int cascade, uint32_t cell) const {
        const int level = levels_[kGridWords * cascade + (cell >> 6)];
        if (level > 0) return level;
        const uint8_t byte = bits_[kGridBytes * cascade + (cell >> 3)];
        if (byte == 0) return 1;
        return (byte >> (cell & 7) & 1) != 0 ? -1 : 0;
    }

private:
    const uint8_t* bits_;
    int cascades_;
    std::vector<uint8_t> levels_;  // [cascades, kGridWords]
};

// bits = values > threshold, and what a cascade holds is held by the centre of the next one too.
void pack_bits(const float* values, int cascades, float threshold, uint8_t* bits, Pool& pool);

// Centres of the cells with these Morton indices; jitter in [0, 1)^3 a cell, or null.
void cell_centers(const int64_t* indices, int64_t count, int cascade, const float* jitter, float* centers, Pool& pool);

}  // namespace h3d
