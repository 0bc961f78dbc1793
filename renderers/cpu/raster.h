// The rasteriser of 3D Gaussians in four stages over one state: project, bin, sort, blend.
//
// Rows are numbered through all scenes; a splat lives at its row's number, so nothing is compacted and nothing needs to
// be mapped back. The state holds everything that a backward pass wants: projected splats, and per tile the rows that
// touch it in depth order. Letters as in `h3d.renderers`: N Gaussians, K SH bases, D feature channels.
// Source: Zwicker et al. 2001 (EWA splatting); Kerbl et al. 2023 (tiles, thresholds); conventions of gsplat 1.5.
#pragma once

#include <cstdint>
#include <vector>

#include "buffer.h"
#include "pool.h"

namespace h3d {

constexpr int kTile = 16;                         // pixels along a side of a tile
constexpr float kLog2Cut = 7.99435344f;           // log2(255): alpha below 1/255 is skipped
constexpr float kMinOpacity = 1.0f / 255.0f;
constexpr float kMaxAlpha = 0.999f;
constexpr float kStop = 1e-4f;                    // a pixel is finished when its transmittance would fall to this

enum class Shape { splats, points, ellipsoids, rings };

// One scene's rows as they lie in the caller's memory, and where the scene stands.
struct SceneRows {
    const float* means = nullptr;       // [N, 3]
    const float* quats = nullptr;       // [N, 4] wxyz
    const float* scales = nullptr;      // [N, 3]
    const float* opacities = nullptr;   // [N]
    const float* sh = nullptr;          // [N, K, 3]
    const float* features = nullptr;    // [N, D] or null: zeros
    const uint8_t* visible = nullptr;   // [N] or null: all
    int64_t count = 0;
    int64_t first = 0;                  // number of its first row
    int bases = 1;                      // K as stored
    float to_camera[12] = {};           // [3, 4] asset to camera, uniform scale included
    float eye[3] = {};                  // camera centre in the asset's frame
    float turn[9] = {};                 // [3, 3] rotation asset to world
};

struct Settings {
    int width = 0, height = 0;
    int x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // pixels to compute; outputs have this size
    float fx = 0, fy = 0, cx = 0, cy = 0;
    float near_plane = 0, far_plane = 0, eps2d = 0;
    float splat_scale = 1, point_size = 3;
    int sh_degree = 3;
    int channels = 0;  // D
    bool antialiased = false, normals = false;
    Shape shape = Shape::splats;
    float background[3] = {};
    int64_t band_entries = int64_t{1} << 25;  // 256 MiB of them; a picture that needs more is made in bands
};

// Where the results go; null = not wanted. Contributions are added to what is there.
struct Outputs {
    float* rgb = nullptr;               // [h, w, 3]
    uint8_t* rgb_bytes = nullptr;       // [h, w, 3]
    float* alpha = nullptr;             // [h, w]
    float* depth = nullptr;             // [h, w]
    float* features = nullptr;          // [h, w, D]
    float* contribution_sum = nullptr;  // [N]
    float* contribution_max = nullptr;  // [N]
    int64_t* contribution_count = nullptr;  // [N] pixels
    int32_t* top_id = nullptr;          // [h, w]
};

// A projected Gaussian. With d = pixel - (x, y): u = a dx + b dy, v = c dy, and alpha = 2^(level - u^2 - v^2); the
// squares keep the exponent from ever turning positive, however thin the ellipse. For the other shapes u^2 + v^2 is 1
// on the outline and `level` is the shape's own number (see shapes.h).
struct Splat {
    float x, y;
    float a, b, c;
    float level;
    float rgb[3];
};

// The tiles that a splat touches: a box of at most 4 x 4 with one bit a tile, or the mark that the rows of the ellipse
// are to be computed again. Nothing is touched where width is 0.
struct Cover {
    uint16_t x, y;
    uint8_t width, height;
    uint16_t mask;
};
constexpr uint8_t kLarge = 255;

struct TileGrid {
    int x0 = 0, y0 = 0;          // first tile, in tiles of the whole image
    int columns = 0, rows = 0;
    int64_t size() const { return static_cast<int64_t>(columns) * rows; }
};

using Entry = uint64_t;  // depth as float bits (positive, so they sort as integers) << 32 | row
inline uint32_t row_of(Entry e) { return static_cast<uint32_t>(e); }

// Tiles [begin, end) in row-major order whose entries fit into memory together; usually all of them.
struct Band {
    int64_t begin = 0, end = 0;
};

struct RasterState {
    TileGrid grid;
    std::vector<int64_t> chunk_starts;  // rows, one more than there are chunks
    Buffer<Splat> splats;               // [N]; undefined where the cover is empty
    Buffer<float> depths;               // [N]
    Buffer<Cover> covers;               // [N]
    Buffer<uint32_t> counts;            // [chunks, tiles], then the places where each chunk writes
    Buffer<int64_t> tile_starts;        // [tiles + 1] into the list of all tiles
    std::vector<Band> bands;
    Buffer<Entry> entries;              // of the band at hand, from tile_starts[band.begin]
    Buffer<float> partial_sum, partial_max;  // contribution of each entry
    Buffer<uint16_t> partial_count;          // pixels of its tile that it contributes to
    std::vector<Buffer<Entry>> sort_space;   // per worker
    std::vector<Buffer<float>> blend_space;  // per worker, feature sums of a tile
    Buffer<float> entry_gradients, row_gradients;  // see gradients.h
    Buffer<double> camera_parts;
    size_t bytes() const;
};

struct Stats {
    int64_t visible = 0, intersections = 0;
    double project_ms = 0, bin_ms = 0, sort_ms = 0, raster_ms = 0;
    int64_t scratch_bytes = 0;
};

struct Frame {
    const std::vector<SceneRows>& scenes;
    const Settings& settings;
    const Outputs& outputs;
    const Cancel& cancel;
    int64_t rows() const { return scenes.empty() ? 0 : scenes.back().first + scenes.back().count; }
    int out_width() const { return settings.x1 - settings.x0; }
};

// Each stage returns false when it was cancelled.
bool project(const Frame& frame, RasterState& state, Pool& pool, Stats& stats);
std::vector<Band> plan_bands(const Frame& frame, RasterState& state, Stats& stats);
bool bin(const Frame& frame, RasterState& state, Pool& pool, Band band);
bool sort(const Frame& frame, RasterState& state, Pool& pool, Band band);
bool blend(const Frame& frame, RasterState& state, Pool& pool, Band band);

// The first stage and what it needs; fills state.bands.
bool begin(const Frame& frame, RasterState& state, Pool& pool, Stats& stats);

// All stages, band by band.
bool rasterize(const Frame& frame, RasterState& state, Pool& pool, Stats& stats);

}  // namespace h3d
