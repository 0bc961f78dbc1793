// Stage 1, tiles: which tiles each of sixteen splats touches.
#include <bit>
#include <cstring>

#include "block.h"
#include "ellipse.h"

namespace h3d {
namespace {

constexpr int kSmall = 4;  // tiles along a side of the boxes that a Cover can hold

// One bit a tile of the boxes' 4 x 4, as a number: the rows of ellipse.h, sixteen splats at a time.
Lanes small_masks(const View& view, const Block& block, int rows) {
    const Lanes inv_a = Lanes(1.0f) / block.a, lean = block.b * inv_a, c2 = block.c * block.c;
    const Lanes width = block.right - block.left, height = block.bottom - block.top;
    const Lanes zero(0.0f), tile(1.0f / kTile);
    const Lanes corner_x = (block.left + static_cast<float>(view.grid.x0)) * static_cast<float>(kTile);
    const Lanes corner_y = (block.top + static_cast<float>(view.grid.y0)) * static_cast<float>(kTile);
    Lanes mask(0.0f);
    for (int row = 0; row < rows; row++) {
        const Lanes first = corner_y + (static_cast<float>(row * kTile) + 0.5f) - block.y;
        const Lanes low = max(first, zero - block.half_height), high = min(first + (kTile - 1.0f), block.half_height);
        const auto edge = [&](Lanes dy, float side) {
            dy = min(max(dy, low), high);
            const Lanes half = sqrt(max(fnma(c2 * dy, dy, block.reach), zero)) * inv_a;
            return block.x - corner_x + fma(Lanes(side), half, zero - lean * dy);
        };
        const Lanes right = edge(block.y_at_right, 1.0f), left = edge(zero - block.y_at_right, -1.0f);
        const Lanes begin = max(ceil((left - (kSlack + kTile - 0.5f)) * tile), zero);
        const Lanes end = max(min(floor((right + (kSlack - 0.5f)) * tile) + 1.0f, width), begin);
        const Lanes bits_of_row = (exp2(min(end, Lanes(4.0f))) - exp2(min(begin, Lanes(4.0f))));
        const Mask inside = Lanes(static_cast<float>(row)) < height;
        mask = mask + keep(inside, bits_of_row * static_cast<float>(1 << (kSmall * row)));
    }
    return mask;
}

void count_large(const View& view, const Splat& splat, uint32_t* counts) {
    for_each_row(splat, reach_of(splat, view.set.shape), view.grid, [&](int row, int begin, int end) {
        uint32_t* line = counts + static_cast<int64_t>(row) * view.grid.columns;
        for (int column = begin; column < end; column++) line[column]++;
    });
}

}  // namespace

void cover(const View& view, Block& block, const Splat* splats, Cover* covers, uint32_t* counts) {
    const Lanes width = block.right - block.left, height = block.bottom - block.top;
    const Lanes tallest = keep(block.alive & (height <= Lanes(static_cast<float>(kSmall))), height);
    alignas(64) int32_t masks[kLanes], lefts[kLanes], tops[kLanes], widths[kLanes], heights[kLanes];
    store_rounded(small_masks(view, block, static_cast<int>(largest(tallest))), masks);
    store_rounded(block.left, lefts), store_rounded(block.top, tops);
    store_rounded(width, widths), store_rounded(height, heights);
    std::memset(covers, 0, sizeof(Cover) * block.count);
    uint32_t drawn = 0;
    for (uint32_t todo = bits(block.alive); todo != 0; todo &= todo - 1) {
        const int i = std::countr_zero(todo);
        Cover c{static_cast<uint16_t>(lefts[i]), static_cast<uint16_t>(tops[i]), kLarge, 0, 0};
        if (widths[i] > kSmall || heights[i] > kSmall) {
            count_large(view, splats[i], counts);
        } else {
            c.width = static_cast<uint8_t>(widths[i]), c.height = static_cast<uint8_t>(heights[i]);
            c.mask = static_cast<uint16_t>(masks[i]);
            if (c.mask == 0) continue;
            uint32_t* corner = counts + static_cast<int64_t>(tops[i]) * view.grid.columns + lefts[i];
            for (uint32_t tiles = c.mask; tiles != 0; tiles &= tiles - 1) {
                const int bit = std::countr_zero(tiles);
                corner[(bit / kSmall) * view.grid.columns + bit % kSmall]++;
            }
        }
        covers[i] = c;
        drawn |= 1u << i;
    }
    block.alive = Mask::from_bits(drawn);
}

}  // namespace h3d
