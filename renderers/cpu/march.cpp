#include "march.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace h3d {
namespace {

constexpr double kLargestStep = 1.7320508075688772;  // sqrt(3)
constexpr double kSmallestStep = kLargestStep / 1024.0;
constexpr double kFar = std::numeric_limits<double>::infinity();
constexpr int32_t kDone = -1;

// One ray with the doubles that its march needs.
struct Ray {
    double origin[3], direction[3], inverse[3];
    double enter = 0.0, leave = kFar;

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
    bool is_finite() const {
        double sum = enter + leave;
        for (int axis = 0; axis < 3; axis++) sum += origin[axis] + direction[axis];
        return std::isfinite(sum);
    }
};

// The next kept step of a ray, walked to over what is empty.
class Walk {
public:
    Walk(const Ray& ray, const Occupancy& grid, const StepLattice& lattice, double cone_angle, double n0, int64_t k)
        : ray_(ray), grid_(grid), lattice_(lattice), cone_angle_(cone_angle), n0_(n0), step(k),
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
        double side = 1.0;
        while (cascade + 1 < grid_.cascades() && (reach >= 0.5 * side || size >= kLargestOfSide * side)) {
            cascade++;
            side *= 2.0;
        }
        for (int axis = 0; axis < 3; axis++) {
            const double cell = (from_centre[axis] / side + 0.5) * kGridSide;
            index[axis] = static_cast<uint32_t>(std::min(std::max(cell, 0.0), kGridSide - 1.0));
        }
        return cascade;
    }

    // Where the step size asks for the next cascade; a little early, since a step too early is only tested again.
    double leave_size(int cascade) const {
        if (cone_angle_ == 0.0 || cascade + 1 == grid_.cascades()) return kFar;
        return kLargestOfSide * static_cast<double>(1 << cascade) / cone_angle_ * (1.0 - cone_angle_);
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
    double cone_angle_, n0_;

public:
    int64_t step;
    double t_start, t_end = 0.0;
};

class Marcher {
public:
    Marcher(const Rays& rays, const Occupancy& grid, const MarchSettings& set)
        : rays_(rays), grid_(grid), set_(set), lattice_(set.cone_angle), half_(std::ldexp(0.5, grid.cascades() - 1)) {}

    // Appends the kept steps of one ray to `part`; gives how many, and moves `step` on.
    int64_t march(int64_t row, int32_t& step, std::vector<Marched::Step>& part) const {
        Ray ray(rays_, row);
        ray.enter = set_.near_plane;
        for (int axis = 0; axis < 3; axis++) {
            ray.clip(axis, std::max<double>(set_.aabb[axis], 0.5 - half_),
                     std::min<double>(set_.aabb[3 + axis], 0.5 + half_));
        }
        const int64_t first = step;
        step = kDone;
        if (!(ray.enter < ray.leave && ray.is_finite())) return 0;
        const double jitter = rays_.jitter != nullptr ? rays_.jitter[row] : 0.0;
        Walk walk(ray, grid_, lattice_, set_.cone_angle, lattice_.n_of(ray.enter) + jitter, first);
        int64_t taken = 0;
        while (walk.find()) {
            if (taken == set_.max_samples) {
                step = static_cast<int32_t>(walk.step);
                break;
            }
            part.push_back({static_cast<float>(walk.t_start), static_cast<float>(walk.t_end)});
            taken++;
            walk.pass();
        }
        return taken;
    }

private:
    const Rays& rays_;
    const Occupancy& grid_;
    const MarchSettings& set_;
    StepLattice lattice_;
    double half_;  // side of the outermost cascade, halved
};

}  // namespace

StepLattice::StepLattice(double cone_angle) {
    if (cone_angle == 0.0) return;
    growth_ = std::log1p(cone_angle);
    // Half a step of growth c lies c / 8 of a step beyond the middle of its exponents.
    slack_ = cone_angle / 8.0 + 1e-6;
    t_low_ = kSmallestStep / growth_;
    t_high_ = kLargestStep / growth_;
    n_low_ = std::log(t_low_) / growth_;
    n_high_ = std::log(t_high_) / growth_;
}

double StepLattice::t_of(double n) const {
    if (growth_ == 0.0) return n * kSmallestStep;
    if (n <= n_low_) return t_low_ + (n - n_low_) * kSmallestStep;
    if (n <= n_high_) return std::exp(n * growth_);
    return t_high_ + (n - n_high_) * kLargestStep;
}

double StepLattice::n_of(double t) const {
    if (growth_ == 0.0) return t * (1.0 / kSmallestStep);
    if (t <= t_low_) return n_low_ + (t - t_low_) * (1.0 / kSmallestStep);
    if (t <= t_high_) return std::log(t) / growth_;
    return n_high_ + (t - t_high_) / kLargestStep;
}

bool march(const Rays& rays, const Occupancy& grid, const MarchSettings& set, int32_t* steps, Marched& out, Pool& pool,
           const Cancel& cancel) {
    const Marcher marcher(rays, grid, set);
    const int64_t parts = (rays.count + Marched::kRays - 1) / Marched::kRays;
    out.parts.resize(static_cast<size_t>(parts));
    out.counts.resize(static_cast<size_t>(rays.count));
    out.starts.resize(static_cast<size_t>(rays.count));
    const bool done = pool.run(parts, cancel, [&](int, int64_t item) {
        std::vector<Marched::Step>& part = out.parts[item];
        part.reserve(16 * Marched::kRays);
        for (int64_t i = Marched::kRays * item; i < std::min(rays.count, Marched::kRays * (item + 1)); i++) {
            const int64_t row = rays.row(i);
            int32_t step = steps != nullptr ? steps[row] : 0;
            out.counts[i] = step == kDone ? 0 : marcher.march(row, step, part);
            if (steps != nullptr) steps[row] = step;
        }
    });
    for (int64_t i = 0; i < rays.count; i++) {
        out.starts[i] = out.total;
        out.total += out.counts[i];
    }
    return done;
}

bool write_samples(const Rays& rays, const Marched& marched, const SampleArrays& out, Pool& pool,
                   const Cancel& cancel) {
    return pool.run(static_cast<int64_t>(marched.parts.size()), cancel, [&](int, int64_t item) {
        const int64_t first = Marched::kRays * item, last = std::min(rays.count, first + Marched::kRays);
        const Marched::Step* step = marched.parts[item].data();
        int64_t s = marched.starts[first];
        for (int64_t i = first; i < last; i++) {
            const int64_t row = rays.row(i);
            const float *origin = rays.origins + 3 * row, *direction = rays.directions + 3 * row;
            for (const int64_t end = s + marched.counts[i]; s < end; s++, step++) {
                const float t = 0.5f * (step->t_start + step->t_end);
                out.t_starts[s] = step->t_start, out.t_ends[s] = step->t_end;
                for (int axis = 0; axis < 3; axis++) {
                    out.positions[3 * s + axis] = origin[axis] + t * direction[axis];
                    out.directions[3 * s + axis] = direction[axis];
                }
            }
        }
    });
}

}  // namespace h3d
