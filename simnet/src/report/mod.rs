//! Tables, plots and traces of what runs measured.
