// Python's side of hash_encoding.h and mlp.h: arrays in, no copy, no interpreter lock while a kernel runs.
//
// Compiled without the kernels' CPU flags, as bindings.cpp is.
#include "bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "blocks.h"
#include "engine.h"
#include "hash_encoding.h"
#include "mlp.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace h3d {
namespace {

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutRows = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using TableRows = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Throws std::invalid_argument: the doors have checked already, this keeps a slip from reading foreign memory.
void require(bool fits, const char* what) {
    if (!fits) throw std::invalid_argument(what);
}

int64_t entries_of(const HashGrid& grid) {
    return grid.levels.empty() ? 0 : grid.levels.back().offset + grid.levels.back().size;
}

Points points_of(const HashGrid& grid, const Rows& positions) {
    require(positions.shape(1) == static_cast<size_t>(grid.dims), "positions: must be [P, D]");
    return {positions.data(), static_cast<int64_t>(positions.shape(0))};
}

void require_width(const HashGrid& grid, Points points, size_t rows, size_t columns) {
    require(rows == static_cast<size_t>(points.count) && columns == static_cast<size_t>(grid.width()),
            "features: must be [P, L F]");
}

Table table_of(const HashGrid& grid, const TableRows& array) {
    require(array.shape(0) == static_cast<size_t>(entries_of(grid)) &&
                array.shape(1) == static_cast<size_t>(grid.features),
            "table: must be [E, F]");
    Table table;
    if (array.dtype() == nb::dtype<float>()) {
        table.floats = static_cast<const float*>(array.data());
    } else {
        require(array.dtype().bits == 16, "table: must be float32 or float16");
        table.halves = static_cast<const Half*>(array.data());
    }
    return table;
}

template <class F>
bool unlocked(F&& work) {
    const nb::gil_scoped_release release;
    return Engine::instance().run(Cancel(), work);
}

HashGrid make_grid(int dims, int features, const std::vector<float>& scales, const std::vector<uint32_t>& resolutions,
                   const std::vector<uint32_t>& sizes, uint32_t level_mask, float origin) {
    require(dims == 2 || dims == 3, "dims: must be 2 or 3");
    require(features == 1 || features == 2 || features == 4 || features == 8, "features: must be 1, 2, 4 or 8");
    require(scales.size() == resolutions.size() && scales.size() == sizes.size() && scales.size() <= 32,
            "levels: must be as many scales, resolutions and sizes, 32 at most");
    HashGrid grid;
    grid.dims = dims, grid.features = features;
    int64_t offset = 0;
    for (size_t l = 0; l < scales.size(); l++) {
        uint64_t corners = 1;
        for (int d = 0; d < dims; d++) corners *= resolutions[l] < (1u << 20) ? resolutions[l] : (1u << 20);
        const bool dense = corners <= sizes[l];
        require(sizes[l] >= 8 && (dense || (sizes[l] & (sizes[l] - 1)) == 0),
                "levels: a hashed level's size must be a power of two");
        grid.levels.push_back({scales[l], resolutions[l], sizes[l], offset, dense, (level_mask >> l & 1u) != 0, origin});
        offset += sizes[l];
    }
    return grid;
}

// A network over weights that the caller keeps alive.
Mlp mlp_of(const std::vector<Rows>& weights, const Rows& inputs) {
    require(!weights.empty(), "weights: at least one matrix is needed");
    Mlp mlp;
    size_t in = inputs.shape(1);
    for (const Rows& w : weights) {
        require(w.shape(1) == in && in > 0 && w.shape(0) > 0, "weights: a layer's inputs must be its forerunner's outputs");
        mlp.layers.push_back({w.data(), static_cast<int>(in), static_cast<int>(w.shape(0))});
        in = w.shape(0);
    }
    return mlp;
}

void bind_grid(nb::module_& m) {
    nb::class_<HashGrid>(m, "HashGrid")
        .def("__init__",
             [](HashGrid* self, int dims, int features, const std::vector<float>& scales,
                const std::vector<uint32_t>& resolutions, const std::vector<uint32_t>& sizes, uint32_t level_mask,
                float origin) {
                 new (self) HashGrid(make_grid(dims, features, scales, resolutions, sizes, level_mask, origin));
             },
             "dims"_a, "features"_a, "scales"_a, "resolutions"_a, "sizes"_a, "level_mask"_a, "origin"_a = 0.5f);
    m.def(
        "hash_encode",
        [](const HashGrid& grid, Rows positions, TableRows rows, OutRows out) {
            const Points points = points_of(grid, positions);
            const Table table = table_of(grid, rows);
            require_width(grid, points, out.shape(0), out.shape(1));
            return unlocked([&](Pool& pool) { return hash_encode(grid, points, table, out.data(), pool, Cancel()); });
        },
        "grid"_a, "positions"_a, "table"_a, "out"_a);
    m.def(
        "hash_table_gradient",
        [](const HashGrid& grid, Rows positions, Rows grad_out, OutRows grad_table) {
            const Points points = points_of(grid, positions);
            require_width(grid, points, grad_out.shape(0), grad_out.shape(1));
            require(grad_table.shape(0) == static_cast<size_t>(entries_of(grid)) &&
                        grad_table.shape(1) == static_cast<size_t>(grid.features),
                    "grad_table: must be [E, F]");
            return unlocked([&](Pool& pool) {
                return hash_table_gradient(grid, points, grad_out.data(), grad_table.data(), pool, Cancel());
            });
        },
        "grid"_a, "positions"_a, "grad_out"_a, "grad_table"_a);
    m.def(
        "hash_position_gradient",
        [](const HashGrid& grid, Rows positions, TableRows rows, Rows grad_out, OutRows grad_positions) {
            const Points points = points_of(grid, positions);
            const Table table = table_of(grid, rows);
            require_width(grid, points, grad_out.shape(0), grad_out.shape(1));
            require(grad_positions.shape(0) == positions.shape(0) && grad_positions.shape(1) == positions.shape(1),
                    "grad_positions: must be [P, D]");
            return unlocked([&](Pool& pool) {
                return hash_position_gradient(grid, points, table, grad_out.data(), grad_positions.data(), pool,
                                              Cancel());
            });
        },
        "grid"_a, "positions"_a, "table"_a, "grad_out"_a, "grad_positions"_a);
}

void bind_mlp(nb::module_& m) {
    m.def(
        "mlp_forward",
        [](const std::vector<Rows>& weights, Rows inputs, OutRows out) {
            const Mlp mlp = mlp_of(weights, inputs);
            require(out.shape(0) == inputs.shape(0) && out.shape(1) == static_cast<size_t>(mlp.layers.back().out),
                    "out: must be [P, O]");
            const auto count = static_cast<int64_t>(inputs.shape(0));
            return unlocked(
                [&](Pool& pool) { return mlp_forward(mlp, inputs.data(), count, out.data(), pool, Cancel()); });
        },
        "weights"_a, "inputs"_a, "out"_a);
    m.def(
        "mlp_backward",
        [](const std::vector<Rows>& weights, Rows inputs, Rows grad_out, std::optional<OutRows> grad_inputs,
           const std::vector<OutRows>& grad_weights) {
            const Mlp mlp = mlp_of(weights, inputs);
            require(grad_out.shape(0) == inputs.shape(0) &&
                        grad_out.shape(1) == static_cast<size_t>(mlp.layers.back().out),
                    "grad_out: must be [P, O]");
            require(!grad_inputs.has_value() ||
                        (grad_inputs->shape(0) == inputs.shape(0) && grad_inputs->shape(1) == inputs.shape(1)),
                    "grad_inputs: must be [P, I]");
            require(grad_weights.empty() || grad_weights.size() == weights.size(), "grad_weights: one a layer");
            std::vector<float*> targets;
            for (size_t l = 0; l < grad_weights.size(); l++) {
                require(grad_weights[l].shape(0) == weights[l].shape(0) && grad_weights[l].shape(1) == weights[l].shape(1),
                        "grad_weights: must be shaped like the weights");
                targets.push_back(grad_weights[l].data());
            }
            const auto count = static_cast<int64_t>(inputs.shape(0));
            float* to = grad_inputs.has_value() ? grad_inputs->data() : nullptr;
            return unlocked([&](Pool& pool) {
                return mlp_backward(mlp, inputs.data(), count, grad_out.data(), to, targets, pool, Cancel());
            });
        },
        "weights"_a, "inputs"_a, "grad_out"_a, "grad_inputs"_a.none(), "grad_weights"_a);
}

// An array whose memory goes back to the blocks when the last reference to it goes.
nb::ndarray<nb::numpy, float, nb::ndim<1>> block_of(size_t count) {
    auto* block = new Blocks::Block(Blocks::instance().take(sizeof(float) * count));
    const nb::capsule owner(block, [](void* pointer) noexcept {
        const auto* given = static_cast<Blocks::Block*>(pointer);
        Blocks::instance().give(*given);
        delete given;
    });
    return {static_cast<float*>(block->memory), {count}, owner};
}

void bind_blocks(nb::module_& m) {
    m.def("block", &block_of, "count"_a);
    m.def("kept_block_bytes", [] { return Blocks::instance().kept_bytes(); });
    m.def("release_blocks", [] { Blocks::instance().release(); });
}

}  // namespace

void bind_encoding(nb::module_& m) {
    bind_blocks(m);
    bind_grid(m);
    bind_mlp(m);
}

}  // namespace h3d
