{ runCommand }: runCommand "python" { } "exit 1"
