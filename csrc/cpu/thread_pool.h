// The library's own threads, or those of an OpenMP run time that works beside it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/function_ref.h"
#include "cpu/openmp.h"

namespace onesearch {

// Body of a parallel loop over [begin, end).
using LoopBody = FunctionRef<void(int64_t begin, int64_t end)>;

// Splits [0, n) into chunks of `grain` and runs `body` on all of them; the calling thread takes
// part. A call from inside a body, or while another thread's loop runs, runs inline. What a body
// throws is thrown here, once.
void parallel_for(int64_t n, int64_t grain, const LoopBody& body);

// How many pieces of this much work each fill a task: at least one.
inline int64_t grain_of(int64_t work_of_task, int64_t work_of_piece) {
  return std::max<int64_t>(1, work_of_task / std::max<int64_t>(1, work_of_piece));
}

// While one lives, loops of this thread run inline: work in the background leaves the other
// processors to searches.
class InlineLoops {
 public:
  InlineLoops();
  InlineLoops(const InlineLoops&) = delete;
  InlineLoops& operator=(const InlineLoops&) = delete;
  ~InlineLoops();

 private:
  bool before_;
};

// Threads a loop may use, the caller included. Default: ONESEARCH_NUM_THREADS, else the processors
// this process may run on.
int num_threads();

// 1 <= count <= 1024. Not from inside a loop body.
void set_num_threads(int64_t count);

// From now on loops run on threads of `openmp` wherever it has num_threads() of them for the
// caller. Between two products torch's threads spin on the processors that the library's would wake
// on: on two cores a search of 64 beams takes 47 ms with two sets of threads and 43 ms with one. A
// forked child, in which OpenMP would hang, has the library's.
void borrow_threads(const OpenMp& openmp);

// Whether a loop of the calling thread would run on borrowed threads.
bool uses_borrowed_threads();

}  // namespace onesearch
