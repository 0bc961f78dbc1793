// What the program has one of: the thread pool, the line of callers, and the scratch of the rasteriser.
#pragma once

#include <memory>

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
    // Calls work(pool) when this caller's turn has come, and gives what it returns: true when all was done. False when
    // cancelled while waiting.
    template <class F>
    bool run(const Cancel& cancel, F&& work) {
        const HeldTurn turn(turn_, cancel);
        return turn.held() && work(pool_);
    }
    size_t scratch_bytes();
    void release_scratch();

private:
    Engine();
    Pool pool_;
    Turn turn_;
    std::unique_ptr<RasterState> state_ = std::make_unique<RasterState>();
};

}  // namespace h3d
