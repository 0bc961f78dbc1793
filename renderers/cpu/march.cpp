#include "march.h"

#include <algorithm>
#include <cmath>

#include "walk.h"

namespace h3d {
namespace {

constexpr int32_t kDone = -1;

class Marcher {
public:
    Marcher(const Rays& rays, const Occupancy& grid, const MarchSettings& set)
        : rays_(rays), grid_(grid), set_(set), lattice_(set.cone_angle, set.stride) {}

    // Appends the kept steps of one ray to `part`; gives how many, and moves `step` on.
    int64_t march(int64_t row, int32_t& step, std::vector<Marched::Step>& part) const {
        Ray ray(rays_, row);
        const int64_t first = step;
        step = kDone;
        if (!ray.clip(rays_, row, set_, grid_.cascades())) return 0;
        const double jitter = rays_.jitter != nullptr ? rays_.jitter[row] : 0.0;
        Walk walk(ray, grid_, lattice_, lattice_.n_of(ray.enter) + jitter, first);
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
};

}  // namespace

StepLattice::StepLattice(double cone_angle, double stride) : stride_(stride), per_t_(1.0 / (stride * kSmallestStep)) {
    if (cone_angle == 0.0) return;
    power_ = std::log1p(cone_angle);
    growth_ = std::expm1(stride * power_);
    // Half a step of growth c lies c / 8 of a step beyond the middle of its exponents.
    slack_ = growth_ / 8.0 + 1e-6;
    t_low_ = kSmallestStep / power_;
    t_high_ = kLargestStep / power_;
    n_low_ = std::log(t_low_) / power_;
    n_high_ = std::log(t_high_) / power_;
}

double StepLattice::grown_t_of(double n) const {
    n *= stride_;
    if (n <= n_low_) return t_low_ + (n - n_low_) * kSmallestStep;
    if (n <= n_high_) return std::exp(n * power_);
    return t_high_ + (n - n_high_) * kLargestStep;
}

double StepLattice::grown_n_of(double t) const {
    if (t <= t_low_) return (n_low_ + (t - t_low_) * (1.0 / kSmallestStep)) / stride_;
    if (t <= t_high_) return std::log(t) / power_ / stride_;
    return (n_high_ + (t - t_high_) / kLargestStep) / stride_;
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
