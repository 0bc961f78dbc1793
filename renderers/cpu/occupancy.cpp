#include "occupancy.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace h3d {
namespace {

constexpr int64_t kPart = 1 << 15;  // cells of a pool's item

// The cascades' cubes lie in one another: blocks of up to 32 cells lie either inside the next finer cube or outside it,
// so that an empty block never hides what only a finer cascade knows.
constexpr int kLargestNested = 5;
constexpr int kLargest = 7;

void find_levels(const uint8_t* bits, int largest, uint8_t* levels) {
    for (int64_t word = 0; word < kGridWords; word++) {
        uint64_t cells;
        std::memcpy(&cells, bits + 8 * word, sizeof cells);
        levels[word] = cells == 0 ? 2 : 0;
    }
    int64_t run = 8;  // words in a block of 2^level cells a side
    for (int level = 3; level <= largest; level++, run *= 8) {
        for (int64_t first = 0; first < kGridWords; first += run) {
            uint8_t* block = levels + first;
            bool empty = true;
            for (int64_t part = 0; part < run && empty; part += run / 8) empty = block[part] == level - 1;
            if (empty) std::memset(block, level, static_cast<size_t>(run));
        }
    }
}

// Bytes of the 64^3 blocks of one cascade become bits of the centre of the next: an octant is one run in both.
void pool_into(const uint8_t* fine, uint8_t* coarse) {
    for (uint32_t octant = 0; octant < 8; octant++) {
        const uint8_t* from = fine + kPart * octant;
        const auto side = [&](int axis) { return (octant >> axis & 1) != 0 ? 64u : 32u; };
        uint8_t* to = coarse + morton(side(0), side(1), side(2)) / 8;
        for (int64_t i = 0; i < kPart / 8; i++) {
            for (int bit = 0; bit < 8; bit++) to[i] |= static_cast<uint8_t>((from[8 * i + bit] != 0 ? 1 : 0) << bit);
        }
    }
}

}  // namespace

Occupancy::Occupancy(const uint8_t* bits, int cascades)
    : bits_(bits), cascades_(cascades), levels_(static_cast<size_t>(kGridWords) * cascades) {
    for (int c = 0; c < cascades; c++) {
        find_levels(bits + kGridBytes * c, c == 0 ? kLargest : kLargestNested, levels_.data() + kGridWords * c);
    }
}

void pack_bits(const float* values, int cascades, float threshold, uint8_t* bits, Pool& pool) {
    pool.run(cascades * kGridCells / kPart, Cancel(), [&](int, int64_t item) {
        const float* from = values + kPart * item;
        uint8_t* to = bits + kPart / 8 * item;
        for (int64_t i = 0; i < kPart / 8; i++) {
            unsigned byte = 0;
            for (int bit = 0; bit < 8; bit++) byte |= static_cast<unsigned>(from[8 * i + bit] > threshold) << bit;
            to[i] = static_cast<uint8_t>(byte);
        }
    });
    for (int c = 0; c + 1 < cascades; c++) pool_into(bits + kGridBytes * c, bits + kGridBytes * (c + 1));
}

void cell_centers(const int64_t* indices, int64_t count, int cascade, const float* jitter, float* centers, Pool& pool) {
    const float side = std::ldexp(1.0f / kGridSide, cascade), corner = 0.5f - std::ldexp(0.5f, cascade);
    pool.run((count + kPart - 1) / kPart, Cancel(), [&](int, int64_t item) {
        for (int64_t i = kPart * item; i < std::min(count, kPart * (item + 1)); i++) {
            const auto cell = static_cast<uint32_t>(indices[i]);
            for (int axis = 0; axis < 3; axis++) {
                const float inside = jitter != nullptr ? jitter[3 * i + axis] : 0.5f;
                centers[3 * i + axis] = corner + side * (static_cast<float>(gather_bits(cell >> axis)) + inside);
            }
        }
    });
}

}  // namespace h3d
