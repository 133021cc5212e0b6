"""Measurements of the method itself: the cost of a step, scaling, the λ map."""

from new_algorithm.measurements.lambda_map import MAP_FILE, draw_lambda_map
from new_algorithm.measurements.optimizer_cost import COSTS_FILE, draw_optimizer_cost
from new_algorithm.measurements.rank_scaling import (
    NODES_FILE,
    RANKS_FILE,
    draw_expected_times,
    draw_rank_scaling,
)
from new_algorithm.measurements.row_scaling import ROWS_FILE, draw_row_scaling

# for each table: the function that draws it, and the figure's size in inches
TABLES = {
    MAP_FILE: (draw_lambda_map, (11.0, 8.0)),
    ROWS_FILE: (draw_row_scaling, (12.0, 4.2)),
    RANKS_FILE: (draw_rank_scaling, None),
    COSTS_FILE: (draw_optimizer_cost, (12.0, 4.8)),
    NODES_FILE: (draw_expected_times, (10.0, 5.0)),
}
