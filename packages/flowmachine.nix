{ python313 }: python313
