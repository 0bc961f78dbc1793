#include "radiance.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "harmonics.h"
#include "hash_corners.h"
#include "mlp_layers.h"
#include "opacity.h"
#include "walk.h"

namespace h3d {
namespace {

constexpr int kRays = 256;  // of a pool's item
constexpr int kFlight = kPacket;

using Places = PointBlock<3, kPacket>;

// e^x, with the exponent kept in exp2's range; NaN stays NaN.
Lanes exp_of(Lanes x) { return exp2(max(Lanes(-126.0f), min(Lanes(126.0f), x * 1.44269504f))); }

// What a ray of the item has seen so far, with what its samples share.
struct RaySum {
    float transmittance, alpha, depth;
    float colored, waiting;  // what of alpha has a colour, and what waits until it is enough for one
    float rgb[3], normal[3];
    int32_t used;
};

// The features of a packet's points as neurons. The corners of a group of points are found, and asked for, one group
// and level ahead of their use.
template <int F, class T>
class PacketEncoder {
public:
    PacketEncoder(const HashGrid& grid, const T* table) : grid_(grid), table_(table) {
        for (const GridLevel& level : grid.levels) all_on_ = all_on_ && level.on;
        rows_.ensure(static_cast<size_t>(kPacket) * grid.width());
    }

    void encode(const Places& places, Neuron* out) {
        const int levels = static_cast<int>(grid_.levels.size()), groups = places.groups;
        if (!all_on_) std::fill(rows_.data(), rows_.data() + kPacket * grid_.width(), 0.0f);
        find(places, 0, 0);
        int turn = 0;
        for (int l = 0; l < levels; l++) {
            for (int group = 0; group < groups; group++, turn++) {
                const bool last = group + 1 == groups;
                if (!last || l + 1 < levels) find(places, last ? l + 1 : l, last ? 0 : group + 1, turn + 1);
                if (grid_.levels[l].on) interpolate(l, group, turn);
            }
        }
        to_neurons(rows_.data(), places.count, grid_.width(), out);
    }

    // The rows [kPacket, width] as scratch for a gradient, which then goes back to the places.
    void slopes(const Places& places, const Neuron* gradient, float (*out)[kPacket]) {
        to_rows(gradient, kPacket, grid_.width(), rows_.data(), grid_.width());
        for (size_t l = 0; l < grid_.levels.size(); l++) {
            if (!grid_.levels[l].on) continue;
            slope_level<F>(grid_.levels[l], places, table_, rows_.data() + F * l, grid_.width(), out);
        }
    }

private:
    void find(const Places& places, int l, int group, int turn = 0) {
        const GridLevel& level = grid_.levels[l];
        if (!level.on) return;
        corners_[turn % 2].find(level, places, group);
        if (sizeof(T) * F * level.size > kNear) {
            corners_[turn % 2].prefetch_rows(table_ + F * level.offset, sizeof(T) * F);
        }
    }
    void interpolate(int l, int group, int turn) {
        const Corners<3>& corners = corners_[turn % 2];
        const T* table = table_ + F * grid_.levels[l].offset;
        const int width = grid_.width();
        float* to = rows_.data() + static_cast<int64_t>(kLanes) * group * width + F * l;
        for (int i = 0; i < kLanes; i++) {
            auto sum = Features<F>::zero();
            for (int k = 0; k < corners.kCount; k++) {
                const size_t entry = corners.entries[k][i];
                sum = sum.plus(corners.weights[k][i], Features<F>::load(table + F * entry));
            }
            sum.store(to + static_cast<int64_t>(i) * width);
        }
    }

    const HashGrid& grid_;
    const T* table_;
    bool all_on_ = true;
    Buffer<float> rows_;
    Corners<3> corners_[2];
};

// Samples that wait for their colours (and normals).
struct ColorQueue {
    int count = 0;
    int ray[kPacket];
    float weight[kPacket];
    Places places;
};

// One thread's rays in flight: an item's worth of them, from the first to the last.
template <int F, class T>
class Flight {
public:
    Flight(const RadianceField& field, const Rays& rays, const Occupancy& grid, const RadianceSettings& set,
           const RadianceSeen& out, const T* table)
        : field_(field), rays_(rays), grid_(grid), set_(set), out_(out),
          lattice_(set.march.cone_angle, set.march.stride), encoder_(field.encoding, table),
          density_(place_activations(field.density, density_space_)),
          color_(place_activations(field.color, color_space_)) {
        for (int axis = 0; axis < 3; axis++) inverse_[axis] = 1.0f / (field.box[3 + axis] - field.box[axis]);
        if (out.normals == nullptr) return;
        again_ = place_activations(field.density, again_space_);
        const int n = widest(field.density);
        slope_ = neurons(slope_space_, 2 * n);
        slope_next_ = slope_ + n;
    }

    void run(int64_t first, int64_t last) {
        first_ = first, next_ = first, last_ = last;
        for (int64_t ray = first; ray < last; ray++) sums_[ray - first] = {1.0f, 0.0f, 0.0f, 0.0f, 0.0f, {}, {}, 0};
        for (Slot& slot : slots_) launch(slot);
        while (gather()) {
            encoder_.encode(places_, density_.front());
            run_layers(field_.density, density_);
            blend();
        }
        color_queue();
        for (int64_t ray = first; ray < last; ray++) write(ray);
    }

private:
    struct Slot {
        Ray ray;
        std::optional<Walk> walk;  // none = the slot is free
        int index = 0;             // of the ray in the item
        int taken = 0;
    };
    struct Sample {
        int slot, ray;
        float t;
    };

    // Puts the next ray that meets anything into the slot; false when none is left.
    bool launch(Slot& slot) {
        slot.walk.reset();
        while (next_ < last_) {
            const int64_t ray = next_++, row = rays_.row(ray);
            slot.ray = Ray(rays_, row);
            if (!slot.ray.clip(rays_, row, set_.march, grid_.cascades())) continue;
            slot.walk.emplace(slot.ray, grid_, lattice_, lattice_.n_of(slot.ray.enter), 0);
            if (slot.walk->find()) {
                slot.index = static_cast<int>(ray - first_);
                slot.taken = 0;
                return true;
            }
            slot.walk.reset();
        }
        return false;
    }

    // The next samples of the rays in flight, a packet at most; false when there are none.
    bool gather() {
        const auto is_live = [](const Slot& slot) { return slot.walk.has_value(); };
        const auto live = static_cast<int>(std::count_if(slots_, slots_ + kFlight, is_live));
        if (live == 0) return false;
        // When the last rays fly, each gives several: a packet costs the same however full it is.
        const int most = std::min(kBurst, kPacket / live);
        int count = 0;
        for (int s = 0; s < kFlight; s++) {
            Slot& slot = slots_[s];
            for (int n = 0; n < most && slot.walk.has_value(); n++) {
                take(slot, s, count++);
                if (slot.taken == set_.march.max_samples || !slot.walk->find()) launch(slot);
            }
        }
        places_.close(count);
        return true;
    }

    // The slot's step becomes sample i.
    void take(Slot& slot, int s, int i) {
        const float begin = static_cast<float>(slot.walk->t_start), end = static_cast<float>(slot.walk->t_end);
        const float t = 0.5f * (begin + end);
        const int64_t row = rays_.row(first_ + slot.index);
        float place[3];
        for (int axis = 0; axis < 3; axis++) {
            const float p = rays_.origins[3 * row + axis] + t * rays_.directions[3 * row + axis];
            place[axis] = (p - field_.box[axis]) * inverse_[axis];
        }
        places_.put(i, place);
        samples_[i] = {s, slot.index, t};
        lengths_[i] = end - begin;
        slot.taken++;
        slot.walk->pass();
    }

    // Weights of the packet's samples from their densities; those that count queue for a colour.
    void blend() {
        const Neuron* features = density_.back();
        alignas(64) float alpha[kPacket];
        for (int part = 0; part < kLanes * places_.groups; part += kLanes) {
            const Lanes density = exp_of(Lanes::load(features[0] + part));
            const Lanes kept = select(density < Lanes(set_.density_threshold), Lanes(0.0f), density);
            alpha_of(kept * Lanes::load(lengths_ + part)).store(alpha + part);
        }
        for (int i = 0; i < places_.count; i++) {
            RaySum& sum = sums_[samples_[i].ray];
            if (sum.transmittance < set_.stop) continue;
            const float weight = sum.transmittance * alpha[i];
            sum.transmittance *= 1.0f - alpha[i];
            sum.alpha += weight;
            sum.depth += weight * samples_[i].t;
            sum.used++;
            sum.waiting += weight;
            // Not the other way round: NaN gets a colour, and shows.
            if (!(sum.waiting < set_.smallest_weight)) {
                queue(i, sum.waiting);
                sum.waiting = 0.0f;
            }
            Slot& slot = slots_[samples_[i].slot];
            const bool flies = slot.walk.has_value() && slot.index == samples_[i].ray;
            if (sum.transmittance < set_.stop && flies) launch(slot);
        }
    }

    void queue(int i, float weight) {
        const int at = queue_.count++, ray = samples_[i].ray;
        queue_.ray[at] = ray;
        queue_.weight[at] = weight;
        Neuron* to = color_.front();
        for (int f = 0; f < kDensityFeatures; f++) to[f][at] = density_.back()[f][i];
        if (out_.normals != nullptr) {
            for (int axis = 0; axis < 3; axis++) queue_.places.x[axis][at] = places_.x[axis][i];
        }
        if (queue_.count == kPacket) color_queue();
    }

    // Colours of all that waits go to their rays.
    void color_queue() {
        const int count = queue_.count;
        if (count == 0) return;
        queue_.count = 0;
        add_harmonics(count);
        run_layers(field_.color, color_);
        alignas(64) float rgb[3][kPacket];
        for (int c = 0; c < 3; c++) {
            for (int part = 0; part < count; part += kLanes) {
                const float sign = field_.exponential ? 1.0f : -1.0f;
                const Lanes grown = exp_of(sign * Lanes::load(color_.back()[c] + part));
                (field_.exponential ? grown : Lanes(1.0f) / (1.0f + grown)).store(rgb[c] + part);
            }
        }
        for (int i = 0; i < count; i++) {
            RaySum& sum = sums_[queue_.ray[i]];
            sum.colored += queue_.weight[i];
            for (int c = 0; c < 3; c++) sum.rgb[c] += queue_.weight[i] * rgb[c][i];
        }
        if (out_.normals != nullptr) add_normals(count);
    }

    void add_harmonics(int count) {
        alignas(64) float along[3][kLanes] = {};
        for (int part = 0; part < count; part += kLanes) {
            for (int i = 0; i < std::min(kLanes, count - part); i++) {
                const float* direction = direction_of(queue_.ray[part + i]);
                for (int axis = 0; axis < 3; axis++) along[axis][i] = direction[axis];
            }
            alignas(64) float basis[kHarmonics][kLanes];
            basis_at(Lanes::load(along[0]), Lanes::load(along[1]), Lanes::load(along[2]), kHarmonics, basis);
            for (int k = 0; k < kHarmonics; k++) {
                Lanes::load(basis[k]).store(color_.front()[kDensityFeatures + k] + part);
            }
        }
    }

    // Against the slope of the density at the queue's places, to the side that the ray comes from.
    void add_normals(int count) {
        queue_.places.close(count);
        encoder_.encode(queue_.places, again_.front());
        run_layers(field_.density, again_);
        const Mlp& mlp = field_.density;
        for (int f = 0; f < kDensityFeatures; f++) std::fill(slope_[f], slope_[f] + kPacket, f == 0 ? 1.0f : 0.0f);
        for (size_t l = mlp.layers.size(); l-- > 0;) {
            const MlpLayer& m = mlp.layers[l];
            layer(m.weights, 1, m.in, m.in, m.out, slope_, slope_next_, false);
            std::swap(slope_, slope_next_);
            if (l > 0) stop_at_zero(m.in, again_[l], slope_);
        }
        alignas(64) float slopes[3][kPacket] = {};
        encoder_.slopes(queue_.places, slope_, slopes);
        for (int i = 0; i < count; i++) {
            const float* direction = direction_of(queue_.ray[i]);
            float square = 0.0f, towards = 0.0f;
            for (int axis = 0; axis < 3; axis++) {
                slopes[axis][i] *= inverse_[axis];
                square += slopes[axis][i] * slopes[axis][i];
                towards += slopes[axis][i] * direction[axis];
            }
            if (!(square > 0.0f)) continue;
            const float scale = std::copysign(queue_.weight[i] / std::sqrt(square), -towards);
            for (int axis = 0; axis < 3; axis++) sums_[queue_.ray[i]].normal[axis] += scale * slopes[axis][i];
        }
    }

    void write(int64_t ray) const {
        const RaySum& sum = sums_[ray - first_];
        const int64_t row = rays_.row(ray);
        const float alpha = sum.transmittance < set_.stop ? 1.0f : sum.alpha;
        const float scale = sum.colored > 0.0f ? alpha / sum.colored : 0.0f;
        for (int c = 0; c < 3; c++) out_.rgb[3 * row + c] = scale * sum.rgb[c];
        out_.alpha[row] = alpha;
        out_.depth[row] = sum.alpha > 0.0f ? sum.depth / sum.alpha : 0.0f;
        out_.counts[row] = sum.used;
        if (out_.normals == nullptr) return;
        const float length = std::sqrt(sum.normal[0] * sum.normal[0] + sum.normal[1] * sum.normal[1] +
                                       sum.normal[2] * sum.normal[2]);
        for (int axis = 0; axis < 3; axis++) {
            out_.normals[3 * row + axis] = length > 0.0f ? alpha / length * sum.normal[axis] : 0.0f;
        }
    }

    const float* direction_of(int ray) const { return rays_.directions + 3 * rays_.row(first_ + ray); }

    static constexpr int kBurst = 8;

    const RadianceField& field_;
    const Rays& rays_;
    const Occupancy& grid_;
    const RadianceSettings& set_;
    const RadianceSeen& out_;
    StepLattice lattice_;
    float inverse_[3];
    int64_t first_ = 0, next_ = 0, last_ = 0;

    Slot slots_[kFlight];
    RaySum sums_[kRays];
    Sample samples_[kPacket];
    alignas(64) float lengths_[kPacket] = {};
    Places places_;
    ColorQueue queue_;
    PacketEncoder<F, T> encoder_;
    Buffer<float> density_space_, color_space_, again_space_, slope_space_;
    std::vector<Neuron*> density_, color_, again_;  // `again_`: of the queue's places, for normals
    Neuron *slope_ = nullptr, *slope_next_ = nullptr;
};

template <int F, class T>
bool render(const RadianceField& field, const T* table, const Rays& rays, const Occupancy& grid,
            const RadianceSettings& set, const RadianceSeen& out, Pool& pool, const Cancel& cancel) {
    std::vector<std::unique_ptr<Flight<F, T>>> flights(static_cast<size_t>(pool.threads()));
    return pool.run((rays.count + kRays - 1) / kRays, cancel, [&](int worker, int64_t item) {
        auto& flight = flights[worker];
        if (flight == nullptr) flight = std::make_unique<Flight<F, T>>(field, rays, grid, set, out, table);
        flight->run(kRays * item, std::min(rays.count, kRays * (item + 1)));
    });
}

}  // namespace

bool render_radiance(const RadianceField& field, const Rays& rays, const Occupancy& grid, const RadianceSettings& set,
                     const RadianceSeen& out, Pool& pool, const Cancel& cancel) {
    const auto with_features = [&](auto features) {
        constexpr int F = decltype(features)::value;
        return field.table.halves != nullptr
                   ? render<F>(field, field.table.halves, rays, grid, set, out, pool, cancel)
                   : render<F>(field, field.table.floats, rays, grid, set, out, pool, cancel);
    };
    switch (field.encoding.features) {
        case 1: return with_features(std::integral_constant<int, 1>());
        case 2: return with_features(std::integral_constant<int, 2>());
        case 4: return with_features(std::integral_constant<int, 4>());
        default: return with_features(std::integral_constant<int, 8>());
    }
}

}  // namespace h3d
