// The binding layer: conversion only. One register function per group of bindings.
#pragma once

#include <pybind11/pybind11.h>

namespace onesearch::bindings {

void register_index(pybind11::module_& module);
void register_ops(pybind11::module_& module);
void register_runtime(pybind11::module_& module);

}  // namespace onesearch::bindings
