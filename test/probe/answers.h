// The emulation's answers, in a file: for each answered part and model, its words.
#pragma once

#include <map>
#include <string>

#include "probe.h"

namespace probe {

// By "part" or "part/model".
using Answers = std::map<std::string, Words>;

// Both throw std::runtime_error with a sentence.
void writeAnswers(const std::string &path, const Answers &answers);
Answers readAnswers(const std::string &path);

// What the words of a part that ran say: with models, it is right if it is one of them.
Outcome judge(const Part &part, const Words &got, const Answers &answers);

}  // namespace probe
