#include "blocks.h"

#include <algorithm>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace h3d {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;

Blocks* blocks = nullptr;
std::once_flag* once = new std::once_flag;

// Sizes are rounded up by an eighth at most, so that steps of nearly as many samples share their blocks.
size_t rounded(size_t bytes) {
    size_t step = 4096;
    while (8 * step < bytes) step *= 2;
    return (bytes + step - 1) / step * step;
}

std::align_val_t alignment(size_t bytes) { return std::align_val_t{bytes < kLargePage ? 64 : kLargePage}; }

Blocks::Block allocate(size_t bytes) {
    void* memory = ::operator new(bytes, alignment(bytes));
#if defined(__linux__)
    if (bytes >= kLargePage) madvise(memory, bytes, MADV_HUGEPAGE);  // A wish: no harm where it is not granted.
#endif
    return {memory, bytes};
}

void deallocate(Blocks::Block block) { ::operator delete(block.memory, alignment(block.bytes)); }

}  // namespace

// Never destroyed, since arrays may outlive everything else at exit.
Blocks& Blocks::instance() {
    std::call_once(*once, [] { blocks = new Blocks; });
    return *blocks;
}

void Blocks::reset_after_fork() {
    once = new std::once_flag;
    blocks = nullptr;
}

Blocks::Block Blocks::take(size_t bytes) {
    bytes = rounded(bytes);
    {
        const std::lock_guard lock(mutex_);
        // The one given last: the most of it is still in the cache.
        const auto fits = [&](const Block& block) { return block.bytes == bytes; };
        const auto found = std::find_if(kept_.rbegin(), kept_.rend(), fits);
        if (found != kept_.rend()) {
            const Block block = *found;
            kept_.erase(std::next(found).base());
            kept_bytes_ -= bytes;
            return block;
        }
    }
    return allocate(bytes);
}

void Blocks::give(Block block) {
    const std::lock_guard lock(mutex_);
    kept_.push_back(block);
    kept_bytes_ += block.bytes;
    while (kept_bytes_ > kKept) {
        kept_bytes_ -= kept_.front().bytes;
        deallocate(kept_.front());
        kept_.pop_front();
    }
}

size_t Blocks::kept_bytes() {
    const std::lock_guard lock(mutex_);
    return kept_bytes_;
}

void Blocks::release() {
    const std::lock_guard lock(mutex_);
    for (const Block& block : kept_) deallocate(block);
    kept_.clear();
    kept_bytes_ = 0;
}

}  // namespace h3d
