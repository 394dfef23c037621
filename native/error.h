// The one error of the native side. The addon turns it into an EmoframeError with the same code.
#pragma once

#include <stdexcept>
#include <string>

namespace emoframe {

struct Error : std::runtime_error {
  Error(std::string code, const std::string &message) : std::runtime_error(message), code(std::move(code)) {}
  std::string code;  // stable, e.g. "ERR_MODEL_CONFIG"
};

}  // namespace emoframe
