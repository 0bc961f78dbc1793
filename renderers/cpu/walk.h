// One ray's way through the occupancy grid, step by kept step; see march.h for what is kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "march.h"

namespace h3d {

constexpr double kFar = std::numeric_limits<double>::infinity();

// One ray with the doubles that its march needs.
struct Ray {
    double origin[3], direction[3], inverse[3];
    double enter = 0.0, leave = kFar;

    Ray() = default;
    Ray(const Rays& rays, int64_t row) {
        for (int axis = 0; axis < 3; axis++) {
            origin[axis] = rays.origins[3 * row + axis];
            direction[axis] = rays.directions[3 * row + axis];
            inverse[axis] = 1.0 / direction[axis];
        }
    }
    void clip(int axis, double low, double high) {
        if (direction[axis] == 0.0) {
            if (!(low <= origin[axis] && origin[axis] <= high)) leave = -kFar;
            return;
        }
        const double a = (low - origin[axis]) * inverse[axis], b = (high - origin[axis]) * inverse[axis];
        enter = std::max(enter, std::min(a, b));
        leave = std::min(leave, std::max(a, b));
    }
    // To its span, the box and the outermost cascade; false where nothing is left of it.
    bool clip(const Rays& rays, int64_t row, const MarchSettings& set, int cascades) {
        const double half = std::ldexp(0.5, cascades - 1);
        enter = set.near_plane;
        if (rays.spans != nullptr) enter = std::max<double>(enter, rays.spans[2 * row]), leave = rays.spans[2 * row + 1];
        for (int axis = 0; axis < 3; axis++) {
            clip(axis, std::max<double>(set.aabb[axis], 0.5 - half),
                 std::min<double>(set.aabb[3 + axis], 0.5 + half));
        }
        return enter < leave && is_finite();
    }
    bool is_finite() const {
        double sum = enter + leave;
        for (int axis = 0; axis < 3; axis++) sum += origin[axis] + direction[axis];
        return std::isfinite(sum);
    }
};

// The next kept step of a ray, walked to over what is empty.
class Walk {
public:
    Walk(const Ray& ray, const Occupancy& grid, const StepLattice& lattice, double n0, int64_t k)
        : ray_(ray), grid_(grid), lattice_(lattice), n0_(n0), step(k),
          t_start(lattice.t_of(n0 + static_cast<double>(k))) {}

    // Moves on from `step`, itself included, to one that is kept; false where the ray leaves first.
    bool find() {
        while (true) {
            t_end = lattice_.t_of(n0_ + static_cast<double>(step + 1));
            const double middle = 0.5 * (t_start + t_end);
            if (!(middle < ray_.leave)) return false;
            uint32_t index[3];
            const int cascade = place(middle, t_end - t_start, index);
            const int level = grid_.empty_level(cascade, morton(index[0], index[1], index[2]));
            if (level < 0) return true;
            const double n = lattice_.n_of(std::min(leave_block(cascade, index, level), leave_size(cascade)));
            step = std::max(step + 1, static_cast<int64_t>(std::ceil(n - n0_ - 0.5 - lattice_.slack())));
            t_start = lattice_.t_of(n0_ + static_cast<double>(step));
        }
    }
    void pass() {
        step++;
        t_start = t_end;
    }

private:
    // The cascade that a step with this middle and size belongs to, and its cell there.
    int place(double t, double size, uint32_t index[3]) const {
        double from_centre[3], reach = 0.0;
        for (int axis = 0; axis < 3; axis++) {
            from_centre[axis] = ray_.origin[axis] + t * ray_.direction[axis] - 0.5;
            reach = std::max(reach, std::fabs(from_centre[axis]));
        }
        int cascade = 0;
        double side = 1.0, cells = kGridSide;  // a unit of length
        while (cascade + 1 < grid_.cascades() && (reach >= 0.5 * side || size >= kLargestOfSide * side)) {
            cascade++;
            side *= 2.0;
            cells *= 0.5;
        }
        for (int axis = 0; axis < 3; axis++) {
            const double cell = from_centre[axis] * cells + 0.5 * kGridSide;
            index[axis] = static_cast<uint32_t>(std::min(std::max(cell, 0.0), kGridSide - 1.0));
        }
        return cascade;
    }

    // Where the step size asks for the next cascade; a little early, since a step too early is only tested again.
    double leave_size(int cascade) const {
        const double growth = lattice_.growth();
        if (growth == 0.0 || cascade + 1 == grid_.cascades()) return kFar;
        return kLargestOfSide * static_cast<double>(1 << cascade) / growth * (1.0 - growth);
    }

    // Where the ray leaves the block of 2^level cells a side around the cell.
    double leave_block(int cascade, const uint32_t index[3], int level) const {
        const double side = static_cast<double>(1 << cascade), corner = 0.5 - 0.5 * side;
        double leave = kFar;
        for (int axis = 0; axis < 3; axis++) {
            if (ray_.direction[axis] == 0.0) continue;
            const uint32_t low = index[axis] >> level << level;
            const uint32_t wall = ray_.direction[axis] > 0.0 ? low + (1u << level) : low;
            const double plane = corner + side / kGridSide * wall;
            leave = std::min(leave, (plane - ray_.origin[axis]) * ray_.inverse[axis]);
        }
        return leave;
    }

    // A step that is longer than half a cell belongs to a coarser cascade.
    static constexpr double kLargestOfSide = 0.5 / kGridSide;

    const Ray& ray_;
    const Occupancy& grid_;
    const StepLattice& lattice_;
    double n0_;

public:
    int64_t step;
    double t_start, t_end = 0.0;
};

}  // namespace h3d
