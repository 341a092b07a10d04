// The binding layer: conversion only. A file of bindings registers itself, so a new operator is a
// new file:
//
//     namespace {
//     void bind(py::module_& module) { module.def(...); }
//     const Registration registration(&bind);
//     }  // namespace
#pragma once

#include <pybind11/pybind11.h>

namespace onesearch::bindings {

using Bind = void (*)(pybind11::module_& module);

class Registration {
 public:
  explicit Registration(Bind bind) : bind_(bind), next_(first()) { first() = this; }

  static void bind_all(pybind11::module_& module) {
    for (const Registration* at = first(); at != nullptr; at = at->next_) at->bind_(module);
  }

 private:
  static const Registration*& first() {
    static const Registration* head = nullptr;
    return head;
  }

  Bind bind_;
  const Registration* next_;
};

}  // namespace onesearch::bindings
