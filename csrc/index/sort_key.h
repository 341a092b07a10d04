// The integers that codes are sorted as: uint64_t, or WideKey where they do not fit.
#pragma once

namespace onesearch {

__extension__ typedef unsigned __int128 WideKey;

}  // namespace onesearch
