#include "path_tracer.h"

#include "counter_random.h"
#include "surface_scene.h"

namespace h3d {
namespace {

constexpr int64_t kTile = 64;  // rays of a pool's item
// A path that is likely to go on is still ended now and then, or closed white rooms would never let it go.
constexpr float kMaxSurvival = 0.95f;

// What one vertex has brought, see path_tracer.h.
struct Step {
    Vec gathered, carried;
    bool goes_on = false;
};

float power_heuristic(float one, float other) { return one * one / (one * one + other * other); }

// One path, at one of its vertices.
class Path {
public:
    Path(const SurfaceScene& scene, const PathSettings& settings, uint32_t ray, uint32_t sample)
        : scene_(scene), settings_(settings), ray_(ray), sample_(sample) {}

    // To the first vertex; false where there is none.
    bool begin(Vec origin, Vec direction) {
        direction_ = direction;
        if (!scene_.intersect(origin, direction, hit_)) return false;
        material_ = &scene_.material(hit_.primitive);
        footprint_ = hit_.t * hit_.t / (4.0f * kPi * std::fabs(dot(hit_.normal, direction)));
        return true;
    }

    // Gathers at this vertex and moves to the next; `throughput` of the path so far decides whether it may end by chance.
    Step step(Vec throughput) {
        Step out;
        if (!material_->scatters()) return out;
        const Frame frame(hit_.normal);
        const Lobes lobes(*material_, frame.into(-direction_));
        const Vec from = scene_.beside(hit_.position, hit_.normal);
        const auto random = draw(0);
        if (settings_.next_event) out.gathered = light(frame, lobes, from);
        const Vec local = lobes.sample(random[0], random[1], random[2]);
        const Scattered scattered = lobes.at(local);
        if (!(scattered.pdf > 0.0f)) return out;
        const Vec carried = scattered.value * (1.0f / scattered.pdf);
        const float survival = survival_of(throughput * carried);
        if (random[3] >= survival) return out;
        out.carried = carried * (1.0f / survival);
        out.goes_on = move(from, normalized(frame.out_of(local)), scattered.pdf, out);
        bounce_++;
        return out;
    }

    // Light that this vertex gives off itself, towards where the path comes from.
    Vec emission() const { return hit_.front ? material_->emission : Vec{}; }
    int bounce() const { return bounce_; }
    // Whether the path has spread out wider than the pixel it came from, so that a cache will do.
    bool has_spread() const { return bounce_ > 0 && spread_ * spread_ > settings_.spread * footprint_; }

    void write_first(const FirstHits& first, int64_t row) const {
        if (first.depth != nullptr) first.depth[row] = hit_.t;
        if (first.normals != nullptr) hit_.normal.put(first.normals + 3 * row);
        if (first.reflectance != nullptr) (material_->albedo + material_->specular).put(first.reflectance + 3 * row);
    }
    void write_vertex(const PathVertices& out, int64_t row) const {
        hit_.position.put(out.positions + 3 * row);
        (-direction_).put(out.directions + 3 * row);
        hit_.normal.put(out.normals + 3 * row);
        material_->albedo.put(out.albedo + 3 * row);
        material_->specular.put(out.specular + 3 * row);
        out.roughness[row] = material_->roughness;
    }

private:
    std::array<float, 4> draw(uint32_t call) const {
        return uniforms({ray_, sample_, static_cast<uint32_t>(bounce_), call}, settings_.seed);
    }

    Vec light(const Frame& frame, const Lobes& lobes, Vec from) const {
        const auto random = draw(1);
        const LightSample sample = scene_.sample_light(from, random[0], random[1], random[2]);
        if (!(sample.pdf > 0.0f)) return {};
        const Scattered scattered = lobes.at(frame.into(sample.direction));
        if (!(scattered.pdf > 0.0f) || scene_.occluded(from, sample.direction, sample.distance)) return {};
        const float weight = power_heuristic(sample.pdf, scattered.pdf);
        return scattered.value * sample.emission * (weight / sample.pdf);
    }

    float survival_of(Vec throughput) const {
        return bounce_ < settings_.roulette_from ? 1.0f : std::min(kMaxSurvival, largest(throughput));
    }

    bool move(Vec from, Vec direction, float pdf, Step& out) {
        if (!scene_.intersect(from, direction, hit_)) return false;
        direction_ = direction;
        material_ = &scene_.material(hit_.primitive);
        spread_ += hit_.t / std::sqrt(pdf * std::fabs(dot(hit_.normal, direction)));
        if (material_->emits() && hit_.front) {
            const float other = settings_.next_event ? scene_.light_pdf(from, direction, hit_) : 0.0f;
            out.gathered += out.carried * material_->emission * power_heuristic(pdf, other);
        }
        return bounce_ + 1 < settings_.max_bounces;
    }

    const SurfaceScene& scene_;
    const PathSettings& settings_;
    const Material* material_ = nullptr;
    Hit hit_;
    Vec direction_;
    float footprint_ = 0.0f, spread_ = 0.0f;
    uint32_t ray_, sample_;
    int bounce_ = 0;
};

// Light scattered at the path's vertex, by the path that begins there.
Vec scattered(Path& path, Vec throughput) {
    const Vec before = throughput;
    Vec total, carried{1.0f, 1.0f, 1.0f};
    while (true) {
        const Step step = path.step(before * carried);
        total += carried * step.gathered;
        if (!step.goes_on) return total;
        carried *= step.carried;
    }
}

class Tracer {
public:
    Tracer(const SurfaceScene& scene, const PathRays& rays, const PathSettings& settings)
        : scene_(scene), rays_(rays), settings_(settings) {}

    Vec whole(int64_t row, const FirstHits& first) const {
        Vec total;
        for (int s = 0; s < settings_.samples; s++) {
            Path path = path_at(row, s);
            if (!begin(path, row)) return {};
            if (s == 0) path.write_first(first, row);
            // In two sentences: the second moves the path on.
            total += path.emission();
            total += scattered(path, {1.0f, 1.0f, 1.0f});
        }
        return total * (1.0f / static_cast<float>(settings_.samples));
    }

    void prefix(int64_t row, const PrefixArrays& out, const FirstHits& first) const {
        Path path = path_at(row, 0);
        Vec total, throughput;
        if (begin(path, row)) {
            path.write_first(first, row);
            throughput = {1.0f, 1.0f, 1.0f};
            total = path.emission();
            while (!path.has_spread()) {
                const Step step = path.step(throughput);
                total += throughput * step.gathered;
                throughput = step.goes_on ? throughput * step.carried : Vec{};
                if (!step.goes_on) break;
            }
        }
        total.put(out.rgb + 3 * row);
        throughput.put(out.throughput + 3 * row);
        if (largest(throughput) > 0.0f) {
            path.write_vertex(out.vertices, row);
        } else {
            blank(out.vertices, row);
        }
    }

    void training(int64_t row, const TrainingArrays& out) const {
        Path path = path_at(row, 0);
        const int64_t first = row * (out.kept + 1);
        int count = 0;
        bool alive = begin(path, row);
        for (; alive && count < out.kept; count++) {
            path.write_vertex(out.vertices, first + count);
            // Nothing is left to chance here: every vertex is to be learnt as well as the first.
            Step step = path.step({1.0f, 1.0f, 1.0f});
            alive = step.goes_on;
            if (alive && count + 1 == out.kept && row < out.whole) {
                step.gathered += step.carried * scattered(path, step.carried);
                alive = false;
            }
            if (!alive) step.carried = {};
            step.gathered.put(out.gathered + 3 * (row * out.kept + count));
            step.carried.put(out.carried + 3 * (row * out.kept + count));
        }
        if (alive) path.write_vertex(out.vertices, first + count);
        out.counts[row] = count;
        out.open[row] = alive ? 1 : 0;
        for (int64_t rest = count + (alive ? 1 : 0); rest <= out.kept; rest++) blank(out.vertices, first + rest);
        for (int64_t rest = count; rest < out.kept; rest++) {
            Vec{}.put(out.gathered + 3 * (row * out.kept + rest));
            Vec{}.put(out.carried + 3 * (row * out.kept + rest));
        }
    }

private:
    Path path_at(int64_t row, int sample) const {
        const uint32_t number = settings_.first_sample + static_cast<uint32_t>(sample);
        const auto ray = static_cast<uint32_t>(rays_.numbers == nullptr ? row : rays_.numbers[row]);
        return {scene_, settings_, ray, number};
    }
    bool begin(Path& path, int64_t row) const {
        return path.begin(Vec::at(rays_.origins + 3 * row), Vec::at(rays_.directions + 3 * row));
    }
    static void blank(const PathVertices& out, int64_t row) {
        for (float* array : {out.positions, out.albedo, out.specular}) Vec{}.put(array + 3 * row);
        for (float* array : {out.directions, out.normals}) Vec{0.0f, 0.0f, 1.0f}.put(array + 3 * row);
        out.roughness[row] = 1.0f;
    }

    const SurfaceScene& scene_;
    const PathRays& rays_;
    const PathSettings& settings_;
};

template <class F>
bool each_ray(int64_t count, Pool& pool, const Cancel& cancel, F&& trace) {
    return pool.run((count + kTile - 1) / kTile, cancel, [&](int, int64_t item) {
        for (int64_t row = kTile * item; row < std::min(count, kTile * (item + 1)); row++) trace(row);
    });
}

}  // namespace

bool trace_paths(const SurfaceArrays& scene, const PathRays& rays, const PathSettings& settings, float* rgb,
                 const FirstHits& first, Pool& pool, const Cancel& cancel) {
    const SurfaceScene surfaces(scene);
    const Tracer tracer(surfaces, rays, settings);
    return each_ray(rays.count, pool, cancel, [&](int64_t row) { tracer.whole(row, first).put(rgb + 3 * row); });
}

bool trace_prefixes(const SurfaceArrays& scene, const PathRays& rays, const PathSettings& settings,
                    const PrefixArrays& out, const FirstHits& first, Pool& pool, const Cancel& cancel) {
    const SurfaceScene surfaces(scene);
    const Tracer tracer(surfaces, rays, settings);
    return each_ray(rays.count, pool, cancel, [&](int64_t row) { tracer.prefix(row, out, first); });
}

bool trace_training(const SurfaceArrays& scene, const PathRays& rays, const PathSettings& settings,
                    const TrainingArrays& out, Pool& pool, const Cancel& cancel) {
    const SurfaceScene surfaces(scene);
    const Tracer tracer(surfaces, rays, settings);
    return each_ray(rays.count, pool, cancel, [&](int64_t row) { tracer.training(row, out); });
}

std::array<uint32_t, 4> philox_words(std::array<uint32_t, 4> counter, uint64_t key) { return philox(counter, key); }

}  // namespace h3d
