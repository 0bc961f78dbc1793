// Marching rays through the occupancy grid: which steps of each ray lie in cells that hold something.
//
// Steps stand on a lattice: step k of a ray begins at t(n0 + k), where t(n) is linear with the smallest step, then
// exponential with growth 1 + cone_angle, then linear with the largest step, smooth where they meet. n0 is where the
// ray enters the box (and the outermost cascade), plus a jitter in [0, 1). With a stride, a step is as long as so many of
// these. A step is kept when the cell at its middle is set, in the finest cascade that holds the middle and whose cells
// are not smaller than half the step.
// Source: Müller et al. 2022, appendix E.1 (the official code samples at the beginning of the step, not its middle).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "occupancy.h"

namespace h3d {

constexpr double kLargestStep = 1.7320508075688772;  // sqrt(3)
constexpr double kSmallestStep = kLargestStep / 1024.0;

// Where steps begin: t(n) and its inverse n(t), in doubles so that long rays keep their lattice.
class StepLattice {
public:
    explicit StepLattice(double cone_angle, double stride = 1.0);
    double t_of(double n) const { return power_ == 0.0 ? n * (stride_ * kSmallestStep) : grown_t_of(n); }
    double n_of(double t) const { return power_ == 0.0 ? t * per_t_ : grown_n_of(t); }
    // How far the middle of a step may lie beyond the middle of its n, in steps.
    double slack() const { return slack_; }
    // Of a step over the one before, less one, where they grow; 0 = even steps.
    double growth() const { return growth_; }

private:
    double grown_t_of(double n) const;
    double grown_n_of(double t) const;

    double stride_ = 1.0, per_t_ = 1.0;  // steps a unit of length where they are even
    double power_ = 0.0;  // log(1 + cone_angle); 0 = even steps
    double growth_ = 0.0, slack_ = 1e-6;
    double n_low_ = 0.0, n_high_ = 0.0, t_low_ = 0.0, t_high_ = 0.0;
};

struct Rays {
    const float* origins = nullptr;     // [R, 3]
    const float* directions = nullptr;  // [R, 3]
    const float* jitter = nullptr;      // [R] or null
    const float* spans = nullptr;       // [R, 2] between which t each ray is marched, or null
    const int64_t* rows = nullptr;      // [count] which rays to march, or null for all of them
    int64_t count = 0;

    int64_t row(int64_t i) const { return rows != nullptr ? rows[i] : i; }
};

struct MarchSettings {
    std::array<float, 6> aabb{};  // low corner, high corner
    float cone_angle = 0.0f;
    float near_plane = 0.0f;
    float stride = 1.0f;
    int max_samples = 1024;
};

// The kept steps of all rays in order; held in parts until their number is known and arrays can be made for them.
struct Marched {
    struct Step {
        float t_start, t_end;
    };
    static constexpr int64_t kRays = 128;  // of a part
    std::vector<std::vector<Step>> parts;
    std::vector<int64_t> counts;  // [count]
    std::vector<int64_t> starts;  // [count]
    int64_t total = 0;
};

struct SampleArrays {
    float *positions, *directions, *t_starts, *t_ends;  // [S, 3], [S, 3], [S], [S]
};

// False when cancelled. `steps` [R] or null: in, the step of each ray to begin with, -1 for a ray that is done; out, the
// next step to keep that was not taken because of max_samples, or -1 where there is none.
bool march(const Rays& rays, const Occupancy& grid, const MarchSettings& set, int32_t* steps, Marched& out, Pool& pool,
           const Cancel& cancel);

bool write_samples(const Rays& rays, const Marched& marched, const SampleArrays& out, Pool& pool, const Cancel& cancel);

}  // namespace h3d
