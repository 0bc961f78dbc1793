// Memory for the large arrays of a training step, kept for the next step instead of being returned to the system: there
// the first touch of every page costs more than many a kernel takes for the page's content.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>

namespace h3d {

class Blocks {
public:
    struct Block {
        void* memory;  // 64-byte aligned
        size_t bytes;
    };

    static Blocks& instance();
    // To be called in a forked child, where another thread's lock would never be opened again.
    static void reset_after_fork();

    // At least `bytes`, with anything in it. Throws std::bad_alloc. Any thread may take and give.
    Block take(size_t bytes);
    // At most kKept bytes are held for later; those that were given first go first.
    void give(Block block);
    size_t kept_bytes();
    void release();

private:
    static constexpr size_t kKept = size_t{256} << 20;

    std::mutex mutex_;
    std::deque<Block> kept_;  // in the order in which they were given
    size_t kept_bytes_ = 0;
};

}  // namespace h3d
