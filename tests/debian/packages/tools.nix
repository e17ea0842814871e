{ lib, builders }: { }
