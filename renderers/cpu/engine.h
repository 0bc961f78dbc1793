// What the program has one of: the thread pool, the line of callers, and the scratch of the rasteriser.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "raster.h"

namespace h3d {

class Engine {
public:
    static Engine& instance();
    // After fork() the child has no pool threads and may hold locks of threads that it lacks: it starts afresh.
    static void reset_after_fork();

    int threads();
    void set_threads(int threads);
    // False when cancelled, while waiting for its turn or later.
    bool rasterize(const Frame& frame, Stats& stats);
    // The same into a state of the caller's, for a backward pass later.
    bool rasterize(const Frame& frame, RasterState& state, Stats& stats);
    // Calls work(pool) when this caller's turn has come, and gives what it returns: true when all was done. False when
    // cancelled while waiting.
    template <class F>
    bool run(const Cancel& cancel, F&& work) {
        const HeldTurn turn(turn_, cancel);
        return turn.held() && work(pool_);
    }
    // A state for a picture whose gradients are wanted; given back, its memory serves the next one.
    std::unique_ptr<RasterState> take_state();
    void give_state(std::unique_ptr<RasterState> state);
    size_t scratch_bytes();
    void release_scratch();

private:
    Engine();
    Pool pool_;
    Turn turn_;
    std::unique_ptr<RasterState> state_ = std::make_unique<RasterState>();
    std::mutex idle_mutex_;
    std::vector<std::unique_ptr<RasterState>> idle_;
};

}  // namespace h3d
