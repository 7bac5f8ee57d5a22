"""Jacobian -> gradient: how the rows become one update. One paper per file."""

from auxjax.aggregation._accumulate import AccumulateState, accumulate_tasks
from auxjax.aggregation._aligned_mtl import aligned_mtl, aligned_mtl_weights
from auxjax.aggregation._cagrad import cagrad, cagrad_weights
from auxjax.aggregation._con_fig import con_fig, con_fig_weights
from auxjax.aggregation._cr_mogm import cr_mogm
from auxjax.aggregation._db_mtl import DBMTLState, db_mtl
from auxjax.aggregation._dualproj import dualproj, dualproj_weights
from auxjax.aggregation._ending import making_rows as making_rows
from auxjax.aggregation._fairgrad import fairgrad, fairgrad_weights
from auxjax.aggregation._graddrop import GradDropState, graddrop, graddrop_rows
from auxjax.aggregation._gradvac import GradVacState, gradvac, gradvac_weights
from auxjax.aggregation._imtl_g import imtl_g, imtl_g_weights
from auxjax.aggregation._krum import krum, krum_weights
from auxjax.aggregation._mean import mean_tasks
from auxjax.aggregation._mgda import mgda, mgda_weights
from auxjax.aggregation._moco import MoCoState, moco, moco_weights
from auxjax.aggregation._nash_mtl import nash_mtl, nash_mtl_weights
from auxjax.aggregation._pcd import PCDState, pcd, pcd_weights
from auxjax.aggregation._pcgrad import PCGradState, pcgrad, pcgrad_weights
from auxjax.aggregation._periodic import PeriodicState, periodic
from auxjax.aggregation._sdmgrad import SDMGradState, sdmgrad, sdmgrad_weights
from auxjax.aggregation._sdmgrad import onto_simplex as onto_simplex
from auxjax.aggregation._sum import sum_tasks
from auxjax.aggregation._trimmed_mean import trimmed_mean, trimmed_mean_rows
from auxjax.aggregation._upgrad import upgrad, upgrad_weights

__all__ = [
    "AccumulateState",
    "DBMTLState",
    "GradDropState",
    "GradVacState",
    "MoCoState",
    "PCDState",
    "PCGradState",
    "PeriodicState",
    "SDMGradState",
    "accumulate_tasks",
    "aligned_mtl",
    "aligned_mtl_weights",
    "cagrad",
    "cagrad_weights",
    "con_fig",
    "con_fig_weights",
    "cr_mogm",
    "db_mtl",
    "dualproj",
    "dualproj_weights",
    "fairgrad",
    "fairgrad_weights",
    "graddrop",
    "graddrop_rows",
    "gradvac",
    "gradvac_weights",
    "imtl_g",
    "imtl_g_weights",
    "krum",
    "krum_weights",
    "mean_tasks",
    "mgda",
    "mgda_weights",
    "moco",
    "moco_weights",
    "nash_mtl",
    "nash_mtl_weights",
    "pcd",
    "pcd_weights",
    "pcgrad",
    "pcgrad_weights",
    "periodic",
    "sdmgrad",
    "sdmgrad_weights",
    "sum_tasks",
    "trimmed_mean",
    "trimmed_mean_rows",
    "upgrad",
    "upgrad_weights",
]
